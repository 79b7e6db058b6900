//! What a process gives up before it reads a model.

use super::Limits;
use super::message::Protections;

/// Gives up all that a trial does not need. ONNX Runtime must be loaded already: no file can be
/// opened afterwards.
///
/// What the system does not offer is left out, and missing in the answer.
#[cfg(unix)]
pub(super) fn confine(limits: &Limits, largest: u64) -> Protections {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let set = |resource, limit| {
        let both = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, both).is_ok()
    };
    let memory = limits.memory_for(largest);
    let mut protections = Protections { processor: more_processor_time(limits), ..landlock() };
    set(Resource::Core, 0);
    set(Resource::Nproc, 0);
    protections.no_writing = set(Resource::Fsize, 0);
    protections.no_new_files = set(Resource::Nofile, 0);
    // Private memory that can be written: what is only reserved does not count, as it would for
    // `RLIMIT_AS`, and ONNX Runtime and the allocator reserve much.
    protections.memory = set(Resource::Data, memory).then_some(memory);
    protections
}

/// Lets the process compute for as long again as a model may.
#[cfg(unix)]
pub(super) fn more_processor_time(limits: &Limits) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    use rustix::time::{ClockId, clock_gettime};

    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    let more = limits.processor.as_secs().max(1);
    let limit = Rlimit { current: Some(used.saturating_add(more)), maximum: None };
    setrlimit(Resource::Cpu, limit).is_ok().then_some(more)
}

#[cfg(target_os = "linux")]
fn landlock() -> Protections {
    use rustix::process::{DumpableBehavior, Signal};

    // If memory runs out, then here first; and nobody outlives whom it works for.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let no_new_privileges = rustix::thread::set_no_new_privs(true).is_ok();
    // Landlock of older kernels holds one thread; ONNX Runtime must not have started any.
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let landlock = match restrict() {
        Ok(state) if threads == 1 => state.to_owned(),
        Ok(_) => format!("not for all of {threads} threads"),
        Err(error) => format!("none ({error})"),
    };
    Protections { no_new_privileges, landlock, ..Protections::default() }
}

/// No file is read, written or run, no port bound or connected to, no other process reached.
#[cfg(target_os = "linux")]
fn restrict() -> Result<&'static str, landlock::RulesetError> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};

    let newest = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "full",
        RulesetStatus::PartiallyEnforced => "partial",
        RulesetStatus::NotEnforced => "not in this kernel",
    })
}

#[cfg(all(unix, not(target_os = "linux")))]
fn landlock() -> Protections {
    Protections { landlock: "not in this system".to_owned(), ..Protections::default() }
}

#[cfg(not(unix))]
pub(super) fn confine(_: &Limits, _: u64) -> Protections {
    Protections { landlock: "not in this system".to_owned(), ..Protections::default() }
}

#[cfg(not(unix))]
pub(super) fn more_processor_time(_: &Limits) -> Option<u64> {
    None
}
