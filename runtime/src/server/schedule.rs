//! Whose turn it is: a batch whenever a core is free, and no model at another's expense.
//!
//! There is no timer. A request that finds a core free runs at once, alone; those that come while all
//! are busy wait together and make the next batch. Where several models have work, the one that has
//! computed least comes next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use super::ticket::Job;

/// The cores, and the queues that want them.
#[derive(Debug)]
pub(super) struct Schedule {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Cores that compute, or have been promised.
    busy: usize,
    cores: usize,
    /// Since when each worker computes that does.
    since: HashMap<ThreadId, Instant>,
    /// The largest time that a queue had computed when it was given a core.
    clock: Duration,
    lanes: BTreeMap<u64, Lane>,
    next_key: u64,
}

#[derive(Debug)]
struct Lane {
    jobs: VecDeque<Job>,
    images: usize,
    capacity: usize,
    batch: usize,
    /// Workers that wait, the one that was the last to compute at the end: its caches are warm.
    free: Vec<Thread>,
    /// Those that have been given a core and have not taken their work yet.
    called: Vec<ThreadId>,
    /// The time that they have computed.
    used: Duration,
    /// When its last batch had computed.
    ended: Option<Instant>,
    is_closed: bool,
}

/// The requests that wait for one model.
#[derive(Debug)]
pub(super) struct Queue {
    schedule: Arc<Schedule>,
    key: u64,
}

/// Why a queue does not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is full.
    Full,
    /// Its model is about to go.
    Closed,
}

impl Schedule {
    /// A schedule of runs on so many cores.
    pub(super) fn new(cores: usize) -> Arc<Self> {
        let state = State {
            busy: 0,
            cores: cores.max(1),
            since: HashMap::new(),
            clock: Duration::ZERO,
            lanes: BTreeMap::new(),
            next_key: 0,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A queue that holds at most `capacity` requests and makes batches of at most `batch` images.
    pub(super) fn queue(self: &Arc<Self>, capacity: usize, batch: usize) -> Queue {
        let mut state = self.lock();
        let key = state.next_key;
        state.next_key += 1;
        let lane = Lane {
            jobs: VecDeque::new(),
            images: 0,
            capacity,
            batch: batch.max(1),
            free: Vec::new(),
            called: Vec::new(),
            used: Duration::ZERO,
            ended: None,
            is_closed: false,
        };
        state.lanes.insert(key, lane);
        Queue { schedule: Arc::clone(self), key }
    }

    /// Cores that compute, or are about to.
    pub(super) fn busy(&self) -> usize {
        self.lock().busy
    }

    /// Whether a run has taken longer than `longest`.
    pub(super) fn is_stuck(&self, longest: Duration) -> bool {
        self.lock().since.values().any(|since| since.elapsed() > longest)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives free cores to the queues that have work and a worker for it.
    fn promise(&mut self) {
        while self.busy < self.cores {
            let wants = |lane: &Lane| lane.images > lane.called.len() * lane.batch;
            let wanting =
                self.lanes.values_mut().filter(|lane| wants(lane) && !lane.free.is_empty());
            let Some(lane) = wanting.min_by_key(|lane| lane.used) else { return };
            let Some(worker) = lane.free.pop() else { return };
            lane.called.push(worker.id());
            self.busy += 1;
            self.clock = self.clock.max(lane.used);
            worker.unpark();
        }
    }
}

impl Lane {
    /// The next batch, without those that nobody waits for.
    fn take(&mut self, now: Instant, batch: &mut Vec<Job>) {
        let mut images = 0;
        while let Some(job) = self.jobs.front() {
            let is_gone = job.is_gone(now);
            if !is_gone && images > 0 && images + job.n > self.batch {
                return;
            }
            let Some(job) = self.jobs.pop_front() else { return };
            self.images -= job.n;
            if !is_gone {
                images += job.n;
                batch.push(job);
            }
        }
    }

    /// Whether no more may wait, those apart that a worker is about to take.
    fn is_full(&mut self) -> bool {
        let most = self.capacity + self.called.len();
        if self.jobs.len() >= most {
            let now = Instant::now();
            self.jobs.retain(|job| !job.is_gone(now));
            self.images = self.jobs.iter().map(|job| job.n).sum();
        }
        self.jobs.len() >= most
    }
}

impl Queue {
    /// Adds a job.
    pub(super) fn submit(&self, job: Job) -> Result<(), Refusal> {
        let mut state = self.schedule.lock();
        let clock = state.clock;
        let Some(lane) = state.lanes.get_mut(&self.key) else { return Err(Refusal::Closed) };
        if lane.is_closed {
            return Err(Refusal::Closed);
        }
        if lane.is_full() {
            return Err(Refusal::Full);
        }
        if lane.jobs.is_empty() {
            // Time in which it had no work is no credit.
            lane.used = lane.used.max(clock);
        }
        lane.images += job.n;
        lane.jobs.push_back(job);
        state.promise();
        Ok(())
    }

    /// Whether it would not take a job now.
    pub(super) fn is_full(&self) -> bool {
        let mut state = self.schedule.lock();
        let Some(lane) = state.lanes.get_mut(&self.key) else { return true };
        lane.is_full()
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.schedule.lock().lanes.get(&self.key).map_or(0, |lane| lane.jobs.len())
    }

    /// Offers this thread as a worker; `finished` is how long it has computed, if it has.
    ///
    /// Before answers are sent: whoever gets one and asks again finds this thread, not one that sleeps.
    pub(super) fn offer(&self, finished: Option<Duration>) {
        let mut state = self.schedule.lock();
        let me = thread::current();
        if let Some(time) = finished {
            state.busy -= 1;
            state.since.remove(&me.id());
            if let Some(lane) = state.lanes.get_mut(&self.key) {
                lane.used += time;
                lane.ended = Some(Instant::now());
            }
        }
        if let Some(lane) = state.lanes.get_mut(&self.key) {
            lane.free.push(me);
        }
        state.promise();
    }

    /// Waits, on a thread that was [offered](Self::offer), for a core and work for it. An empty batch means
    /// that there will be no more.
    ///
    /// Returns how long the model has computed nothing, if the batch is all the work that there is.
    pub(super) fn next(&self, batch: &mut Vec<Job>) -> Option<Duration> {
        batch.clear();
        let me = thread::current();
        loop {
            let mut state = self.schedule.lock();
            let lane = state.lanes.get_mut(&self.key)?;
            if let Some(at) = lane.called.iter().position(|id| *id == me.id()) {
                lane.called.swap_remove(at);
                let now = Instant::now();
                lane.take(now, batch);
                if batch.is_empty() {
                    lane.free.push(me.clone());
                    state.busy -= 1;
                    state.promise();
                    continue;
                }
                let idle = lane.ended.map_or(Duration::MAX, |ended| now - ended);
                state.since.insert(me.id(), now);
                let is_all = state.lanes.values().all(|lane| lane.jobs.is_empty());
                return (state.busy == 1 && is_all).then_some(idle);
            }
            if lane.is_closed && lane.jobs.is_empty() {
                lane.free.retain(|free| free.id() != me.id());
                // Those that were woken while there was work wait for no other word.
                lane.free.iter().for_each(Thread::unpark);
                return None;
            }
            drop(state);
            thread::park();
        }
    }

    /// Takes no more jobs; those that wait are still worked on.
    pub(super) fn close(&self) {
        if let Some(lane) = self.schedule.lock().lanes.get_mut(&self.key) {
            lane.is_closed = true;
            lane.free.iter().for_each(Thread::unpark);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.schedule.lock().lanes.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    fn job(n: usize) -> (Job, crate::server::ticket::Ticket) {
        Job::new(Bytes::new(), n, Instant::now() + Duration::from_mins(1))
    }

    /// The sizes of the jobs of the next batch.
    fn next(queue: &Queue, finished: bool) -> Vec<usize> {
        let mut batch = Vec::new();
        queue.offer(finished.then_some(Duration::ZERO));
        queue.next(&mut batch);
        batch.iter().map(|job| job.n).collect()
    }

    #[test]
    fn a_batch_is_what_waits_up_to_its_size() {
        let queue = Schedule::new(1).queue(10, 4);
        let mut tickets = Vec::new();
        for n in [1, 2, 3, 9, 1] {
            let (job, ticket) = job(n);
            queue.submit(job).unwrap();
            tickets.push(ticket);
        }
        assert_eq!(next(&queue, false), [1, 2]);
        assert_eq!(next(&queue, true), [3]);
        // What is larger than a batch goes alone.
        assert_eq!(next(&queue, true), [9]);
        queue.close();
        assert_eq!(next(&queue, true), [1]);
        assert!(next(&queue, true).is_empty());
        assert_eq!(queue.submit(job(1).0), Err(Refusal::Closed));
    }

    #[test]
    fn all_workers_leave_a_queue_that_was_closed_with_work_in_it() {
        let schedule = Schedule::new(1);
        let [one, other] = [(); 2].map(|()| schedule.queue(10, 4));
        let (first, kept) = job(1);
        other.submit(first).unwrap();
        // The only core is taken.
        assert_eq!(next(&other, false), [1]);
        let (second, waits) = job(1);
        one.submit(second).unwrap();
        thread::scope(|scope| {
            let works = || {
                let mut done = next(&one, false);
                while let [n, ..] = done[..] {
                    done = next(&one, true);
                    assert_eq!((n, done.len()), (1, 0));
                }
            };
            scope.spawn(works);
            scope.spawn(works);
            while schedule.lock().lanes[&one.key].free.len() < 2 {
                thread::yield_now();
            }
            one.close();
            // Long enough that both have seen that there is still work.
            thread::sleep(Duration::from_millis(50));
            other.close();
            assert!(next(&other, true).is_empty());
        });
        drop((kept, waits));
    }

    #[test]
    fn the_worker_that_computed_last_comes_next() {
        let queue = Schedule::new(2).queue(10, 4);
        let (submit, ran) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..2 {
                let (queue, submit) = (&queue, submit.clone());
                scope.spawn(move || {
                    let mut batch = Vec::new();
                    queue.offer(None);
                    loop {
                        let idle = queue.next(&mut batch);
                        if batch.is_empty() {
                            return;
                        }
                        queue.offer(Some(Duration::ZERO));
                        submit.send((thread::current().id(), idle)).unwrap();
                    }
                });
            }
            while queue.schedule.lock().lanes[&queue.key].free.len() < 2 {
                thread::yield_now();
            }
            let mut workers = Vec::new();
            for _ in 0..5 {
                let (job, ticket) = job(1);
                queue.submit(job).unwrap();
                workers.push(ran.recv().unwrap());
                drop(ticket);
            }
            assert!(workers.iter().all(|(id, _)| *id == workers[0].0));
            // The first had no predecessor, and all were alone.
            assert_eq!(workers[0].1, Some(Duration::MAX));
            assert!(workers[1..].iter().all(|(_, idle)| idle.unwrap() < Duration::from_mins(1)));
            queue.close();
        });
    }

    #[test]
    fn a_run_that_does_not_end_is_noticed() {
        let schedule = Schedule::new(1);
        let queue = schedule.queue(10, 4);
        let (job, ticket) = job(1);
        queue.submit(job).unwrap();
        assert!(!schedule.is_stuck(Duration::ZERO));
        assert_eq!(next(&queue, false), [1]);
        while !schedule.is_stuck(Duration::ZERO) {
            thread::yield_now();
        }
        assert!(!schedule.is_stuck(Duration::from_mins(1)));
        queue.close();
        assert!(next(&queue, true).is_empty() && !schedule.is_stuck(Duration::ZERO));
        drop(ticket);
    }

    #[test]
    fn who_has_gone_makes_room() {
        let queue = Schedule::new(1).queue(2, 4);
        let (first, kept) = job(1);
        let (second, gone) = job(1);
        queue.submit(first).unwrap();
        queue.submit(second).unwrap();
        assert_eq!((queue.submit(job(1).0), queue.is_full()), (Err(Refusal::Full), true));
        drop(gone);
        let (third, waits) = job(3);
        queue.submit(third).unwrap();
        assert_eq!((next(&queue, false), queue.len()), (vec![1, 3], 0));
        drop((kept, waits));
    }

    #[test]
    fn the_model_that_has_computed_least_comes_next() {
        let schedule = Schedule::new(1);
        let [one, other] = [(); 2].map(|()| schedule.queue(10, 1));
        let mut tickets = Vec::new();
        let mut batch = Vec::new();
        for _ in 0..2 {
            let (job, ticket) = job(1);
            one.submit(job).unwrap();
            tickets.push(ticket);
        }
        one.offer(None);
        one.next(&mut batch);
        let (job, ticket) = job(1);
        other.submit(job).unwrap();
        tickets.push(ticket);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| next(&other, false).len());
            while schedule.lock().lanes[&other.key].free.is_empty() {
                std::thread::yield_now();
            }
            // The core is free again: the other one's worker gets it, although this one asks first.
            let again = scope.spawn(|| {
                let mut batch = Vec::new();
                one.offer(Some(Duration::from_secs(1)));
                one.next(&mut batch);
                batch.len()
            });
            assert_eq!(waiting.join().unwrap(), 1);
            let state = schedule.lock();
            assert_eq!((state.lanes[&one.key].jobs.len(), state.busy), (1, 1));
            drop(state);
            other.close();
            assert!(next(&other, true).is_empty());
            assert_eq!(again.join().unwrap(), 1);
        });
    }
}
