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
            let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
            (id.checked_sub(first), number("SLURM_ARRAY_TASK_COUNT"))
        }
        None => (number("JOB_COMPLETION_INDEX"), number("JOB_COMPLETIONS")),
    };
    match (index, of) {
        (Some(index), Some(of)) if index < of => Ok(Part { number: index + 1, of }),
        _ => Err("`auto` needs SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, or \
                  JOB_COMPLETION_INDEX and JOB_COMPLETIONS"
            .to_owned()),
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
        let job = of(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "2")]);
        assert_eq!(job, Ok(Part { number: 1, of: 2 }));
        assert!(of(&[]).is_err() && of(&[("SLURM_ARRAY_TASK_ID", "0")]).is_err());
    }
}
