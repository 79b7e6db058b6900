//! Images per second of a classifier's ONNX file in tract.
//!
//! `rift-bench-tract MODEL.onnx C,H,W BATCH THREADS SECONDS` prints a number. tract computes a run on
//! one thread, so each thread has a state of its own and takes batches of its own.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tract_onnx::prelude::*;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, input, batch, threads, seconds] = &arguments[..] else {
        return Err(
            format!("expected MODEL C,H,W BATCH THREADS SECONDS, found {arguments:?}").into()
        );
    };
    let mut shape = vec![batch.parse::<usize>()?];
    for side in input.split(',') {
        shape.push(side.parse()?);
    }
    let plan = tract_onnx::onnx()
        .model_for_path(model)?
        .with_input_fact(0, f32::fact(&shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let duration = Duration::from_secs_f64(seconds.parse()?);
    let workers: Vec<_> = (0..threads.parse::<usize>()?)
        .map(|_| {
            let (plan, shape) = (Arc::clone(&plan), shape.clone());
            thread::spawn(move || rate(&plan, &shape, duration))
        })
        .collect();
    let mut total = 0.0;
    for worker in workers {
        total += worker.join().map_err(|_| "a thread ended in a panic")??;
    }
    println!("{total}");
    Ok(())
}

/// Images per second of one thread, after a run that does not count.
fn rate(plan: &Arc<TypedRunnableModel>, shape: &[usize], duration: Duration) -> TractResult<f64> {
    let mut state = plan.spawn()?;
    let images: TValue = Tensor::zero::<f32>(shape)?.into();
    state.run(tvec!(images.clone()))?;
    let (start, mut count) = (Instant::now(), 0);
    while count == 0 || start.elapsed() < duration {
        state.run(tvec!(images.clone()))?;
        count += shape[0];
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 images")]
    Ok(count as f64 / start.elapsed().as_secs_f64())
}
