//! Which part of an audit this run makes.

use std::ops::Range;
use std::str::FromStr;

use rift_models::artifact::Shard;

/// Part `number` of `of`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    number: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return from_scheduler(|name| std::env::var(name).ok());
        }
        let parts = text.split_once('/').map(|(a, b)| (a.trim().parse(), b.trim().parse()));
        match parts {
            Some((Ok(number), Ok(of))) if 1 <= number && number <= of => Ok(Self { number, of }),
            _ => Err("expected a part and their number such as `2/7`, or `auto`".to_owned()),
        }
    }
}

/// The part that a Slurm array or an indexed Kubernetes Job gives this process.
fn from_scheduler(variable: impl Fn(&str) -> Option<String>) -> Result<Part, String> {
    let number = |name: &str| variable(name).and_then(|text| text.parse::<usize>().ok());
    let (index, of) = match number("SLURM_ARRAY_TASK_ID") {
        Some(id) => {
            // Numbers may begin anywhere and rise by any step: `--array=1-8`, `--array=0-14:2`.
            let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP").unwrap_or(1).max(1);
            let above = id.checked_sub(first).filter(|above| above % step == 0);
            (above.map(|above| above / step), number("SLURM_ARRAY_TASK_COUNT"))
        }
        None => (number("JOB_COMPLETION_INDEX"), number("JOB_COMPLETIONS")),
    };
    match (index, of) {
        (Some(index), Some(of)) if index < of => Ok(Part { number: index + 1, of }),
        (Some(index), Some(of)) => Err(format!(
            "the scheduler says that this is task {} of {of}, expected tasks that are numbered \
             without gaps",
            index + 1
        )),
        _ => {
            Err("expected SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, or JOB_COMPLETION_INDEX \
                  and JOB_COMPLETIONS, or a part such as `2/7`"
                .to_owned())
        }
    }
}

impl Part {
    /// Its images among `n`: parts differ by at most one image.
    pub(super) fn rows(self, n: usize) -> Range<usize> {
        n * (self.number - 1) / self.of..n * self.number / self.of
    }

    /// As the report says it.
    pub(super) fn shard(self, total: usize) -> Shard {
        Shard { number: self.number, of: self.of, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once() {
        for (n, of) in [(10, 3), (7, 7), (3, 5), (1000, 8)] {
            let rows: Vec<usize> =
                (1..=of).flat_map(|number| Part { number, of }.rows(n)).collect();
            assert_eq!(rows, (0..n).collect::<Vec<_>>());
        }
        assert_eq!("2/7".parse(), Ok(Part { number: 2, of: 7 }));
        for text in ["0/7", "8/7", "1", "a/b", ""] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }

    #[test]
    fn schedulers_number_their_tasks() {
        let of = |pairs: &'static [(&str, &str)]| {
            from_scheduler(move |name| {
                pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
            })
        };
        let slurm = of(&[
            ("SLURM_ARRAY_TASK_ID", "3"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ]);
        assert_eq!(slurm, Ok(Part { number: 3, of: 4 }));
        let by_two = of(&[
            ("SLURM_ARRAY_TASK_ID", "4"),
            ("SLURM_ARRAY_TASK_MIN", "0"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ]);
        assert_eq!(by_two, Ok(Part { number: 3, of: 4 }));
        let gaps = of(&[
            ("SLURM_ARRAY_TASK_ID", "9"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
        ]);
        assert!(gaps.is_err_and(|message| message.contains("without gaps")));
        let job = of(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "2")]);
        assert_eq!(job, Ok(Part { number: 1, of: 2 }));
        assert!(of(&[]).is_err() && of(&[("SLURM_ARRAY_TASK_ID", "0")]).is_err());
    }
}
