//! The attacked images in two halves.

use std::ops::Range;

use super::pass::Attacked;
use crate::network::TorchError;

/// The first and the second half of the images, to within one, each in batches of its own.
pub(super) fn split(batches: &[Attacked], batch: usize) -> Result<[Vec<Attacked>; 2], TorchError> {
    let n = batches.iter().map(|batch| batch.clean.indices.len()).sum();
    Ok([part(batches, 0..n / 2, batch)?, part(batches, n / 2..n, batch)?])
}

/// Some of the images in batches of at most `batch`, from the first of them on.
fn part(
    batches: &[Attacked],
    rows: Range<usize>,
    batch: usize,
) -> Result<Vec<Attacked>, TorchError> {
    let batch = batch.max(1);
    let starts = rows.clone().step_by(batch);
    starts.map(|start| gather(batches, start..start.saturating_add(batch).min(rows.end))).collect()
}

/// One batch of images that may lie in several.
fn gather(batches: &[Attacked], rows: Range<usize>) -> Result<Attacked, TorchError> {
    let (mut found, mut first) = (None, 0);
    for Attacked { clean, adversarial } in batches {
        let end = first + clean.indices.len();
        let (start, stop) = (rows.start.max(first), rows.end.min(end));
        if start < stop {
            let within = start - first..stop - first;
            let (clean, adversarial) = (clean.narrow(within.clone())?, adversarial.narrow(within)?);
            found = Some(match found.take() {
                None => Attacked { clean, adversarial },
                Some(Attacked { clean: before, adversarial: attacked }) => Attacked {
                    clean: before.join(clean)?,
                    adversarial: attacked.join(adversarial)?,
                },
            });
        }
        first = end;
    }
    found.ok_or_else(|| TorchError::missing("batch"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::to_vec;
    use crate::stage::fixture;

    #[test]
    fn halves_are_of_the_images_whatever_the_batches() {
        for (n, batch) in [(14, 5), (15, 5), (15, 16), (8, 3), (2, 1), (7, usize::MAX - 1)] {
            let images = fixture::images(n, [1, 4, 4], 3);
            let batches: Vec<Attacked> = images
                .batches(batch, None)
                .zip(images.batches(batch, None))
                .map(|(a, b)| Attacked { clean: a.unwrap(), adversarial: b.unwrap() })
                .collect();
            let halves = split(&batches, batch).unwrap();
            let sizes = halves
                .each_ref()
                .map(|half| half.iter().map(|found| found.clean.indices.len()).collect::<Vec<_>>());
            for (sizes, expected) in sizes.iter().zip([n / 2, n - n / 2]) {
                assert_eq!(sizes.iter().sum::<usize>(), expected, "{n} by {batch}: {sizes:?}");
                assert_eq!(sizes.len(), expected.div_ceil(batch), "{n} by {batch}: {sizes:?}");
            }
            let mut seen = Vec::new();
            for found in halves.iter().flatten() {
                let alike = images.select(&found.clean.indices).unwrap();
                for batch in [&found.clean, &found.adversarial] {
                    assert_eq!(batch.indices, alike.indices);
                    assert_eq!(batch.labels, alike.labels);
                    assert_eq!(to_vec(&batch.images).unwrap(), to_vec(&alike.images).unwrap());
                }
                seen.extend(found.clean.indices.iter().copied());
            }
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }
}
