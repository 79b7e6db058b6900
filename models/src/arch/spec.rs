//! Architectures by name.

use serde::{Deserialize, Serialize};

use super::graph::nearest;
use super::preact_resnet::PreActResNet;
use super::resnet::ResNet;
use super::wide_resnet::WideResNet;
use super::{Graph, ShapeError};

/// What names a network: enough to build it again.
///
/// ```
/// use rift_models::arch::ArchSpec;
/// let graph = ArchSpec::new("resnet18", [3, 32, 32], 10).build()?;
/// assert_eq!(graph.parameter_count(), 11_173_962);
/// # Ok::<(), rift_models::arch::ArchError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchSpec {
    /// One of [`NAMES`].
    pub name: String,
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// The number of logits.
    pub classes: usize,
    /// Channels of the first stage, where the architecture lets them be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Channel means that normalise the input, in pixel units.
    pub mean: Vec<f32>,
    /// Channel standard deviations that normalise the input, in pixel units.
    pub std: Vec<f32>,
}

/// The architectures that can be built.
pub const NAMES: [&str; 9] = [
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet18",
    "resnet34",
    "preactresnet18",
    "preactresnet18-fast-at",
    "wrn28-10",
    "wrn34-10",
];

/// The most classes, and the most numbers in an image: a file that names more is not meant.
const MOST: [usize; 2] = [1 << 20, 1 << 28];

/// An architecture that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ArchError {
    /// A name that is not one of [`NAMES`].
    #[error("unknown architecture `{name}`{}, known are {}", did_you_mean(near), NAMES.join(", "))]
    Name {
        /// The name that was asked for.
        name: String,
        /// The nearest known names.
        near: Vec<String>,
    },
    /// A width for a network whose width is fixed, or a width of 0.
    #[error("width {width} does not fit `{name}`: {reason}")]
    Width {
        /// The architecture.
        name: String,
        /// The width that was asked for.
        width: usize,
        /// Why not.
        reason: &'static str,
    },
    /// No class or an image without pixels.
    #[error(
        "expected at least 1 class and an image of at least 1 pixel, found {classes} classes and input {input:?}"
    )]
    Empty {
        /// Classes.
        classes: usize,
        /// Channels, height, width.
        input: [usize; 3],
    },
    /// More classes or larger images than any network has.
    #[error(
        "expected at most {} classes and an image of at most {} numbers, found {classes} classes and input {input:?}", MOST[0], MOST[1]
    )]
    TooLarge {
        /// Classes.
        classes: usize,
        /// Channels, height, width.
        input: [usize; 3],
    },
    /// Normalisation that does not match the channels, or divides by zero.
    #[error(
        "normalisation needs {channels} means and positive standard deviations, found {mean:?} and {std:?}"
    )]
    Normalisation {
        /// Channels of the input.
        channels: usize,
        /// The means.
        mean: Vec<f32>,
        /// The standard deviations.
        std: Vec<f32>,
    },
    /// Images too small for the network.
    #[error("`{name}` does not fit images of {input:?}")]
    Shape {
        /// The architecture.
        name: String,
        /// Channels, height, width.
        input: [usize; 3],
        /// Where it fails.
        #[source]
        source: ShapeError,
    },
}

fn did_you_mean(near: &[String]) -> String {
    near.first().map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
}

impl ArchSpec {
    /// The architecture with normalisation that changes nothing.
    pub fn new(name: &str, input: [usize; 3], classes: usize) -> Self {
        let channels = input[0];
        Self {
            name: name.to_owned(),
            input,
            classes,
            width: None,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// If the name is unknown or the sizes do not fit.
    pub fn build(&self) -> Result<Graph, ArchError> {
        self.validate()?;
        let thin = |blocks| ResNet { blocks, width: self.width.unwrap_or(16), pool: None };
        let wide = |blocks| ResNet { blocks, width: self.width.unwrap_or(64), pool: Some(4) };
        let before = |activated_shortcut, last_norm| {
            let width = self.width.unwrap_or(64);
            PreActResNet { width, activated_shortcut, last_norm }
        };
        let graph = match self.name.as_str() {
            "resnet8" => thin(&[1, 1, 1]).build(self),
            "resnet20" => thin(&[3, 3, 3]).build(self),
            "resnet32" => thin(&[5, 5, 5]).build(self),
            "resnet18" => wide(&[2, 2, 2, 2]).build(self),
            "resnet34" => wide(&[3, 4, 6, 3]).build(self),
            "preactresnet18" => before(true, true).build(self),
            "preactresnet18-fast-at" => before(false, false).build(self),
            "wrn28-10" => WideResNet { depth: 28, widen: 10 }.build(self),
            "wrn34-10" => WideResNet { depth: 34, widen: 10 }.build(self),
            name => {
                let near = nearest(name, NAMES.into_iter());
                return Err(ArchError::Name { name: name.to_owned(), near });
            }
        };
        graph.shapes().map_err(|source| ArchError::Shape {
            name: self.name.clone(),
            input: self.input,
            source,
        })?;
        Ok(graph)
    }

    fn validate(&self) -> Result<(), ArchError> {
        let (channels, classes, input) = (self.input[0], self.classes, self.input);
        let numbers = input.iter().try_fold(1usize, |product, d| product.checked_mul(*d));
        if classes > MOST[0] || numbers.is_none_or(|numbers| numbers > MOST[1]) {
            return Err(ArchError::TooLarge { classes, input });
        }
        if classes == 0 || numbers == Some(0) {
            return Err(ArchError::Empty { classes, input });
        }
        let finite = self.mean.iter().all(|m| m.is_finite());
        let positive = self.std.iter().all(|s| s.is_finite() && *s > 0.0);
        if self.mean.len() != channels || self.std.len() != channels || !finite || !positive {
            return Err(ArchError::Normalisation {
                channels,
                mean: self.mean.clone(),
                std: self.std.clone(),
            });
        }
        let refuse = |width, reason| ArchError::Width { name: self.name.clone(), width, reason };
        match self.width {
            Some(width) if self.name.starts_with("wrn") => {
                Err(refuse(width, "its width is part of its name"))
            }
            Some(width @ (0 | 1025..)) => Err(refuse(width, "expected 1 to 1024")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_parameters_as_the_reference_does() {
        for (name, count) in [
            ("resnet18", 11_173_962),
            ("resnet34", 21_282_122),
            ("preactresnet18", 11_172_170),
            ("preactresnet18-fast-at", 11_171_146),
            ("wrn28-10", 36_479_194),
            ("wrn34-10", 46_160_474),
        ] {
            let graph = ArchSpec::new(name, [3, 32, 32], 10).build().unwrap();
            assert_eq!(graph.parameter_count(), count, "{name}");
        }
    }

    #[test]
    fn sizes_that_nobody_means_are_refused() {
        let huge = usize::MAX / 2;
        for (input, classes) in
            [([3, huge, huge], 10), ([3, 1 << 20, 1 << 20], 10), ([3, 32, 32], huge)]
        {
            let error = ArchSpec::new("resnet8", input, classes).build().unwrap_err();
            assert!(matches!(error, ArchError::TooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn flattens_two_by_two_positions_of_larger_images() {
        for (name, features) in
            [("resnet18", 2048), ("resnet34", 2048), ("preactresnet18", 2048), ("wrn34-10", 2560)]
        {
            let graph = ArchSpec::new(name, [3, 64, 64], 200).build().unwrap();
            let Some(super::super::Op::Linear { in_features, .. }) =
                graph.nodes.last().map(|n| n.op.clone())
            else {
                panic!("{name} does not end in a linear layer");
            };
            assert_eq!(in_features, features, "{name}");
        }
    }

    #[test]
    fn uses_the_reference_implementation_names() {
        let modules = |name: &str| -> Vec<String> {
            let graph = ArchSpec::new(name, [3, 32, 32], 10).build().unwrap();
            graph.modules().map(str::to_owned).collect()
        };
        let resnet = modules("resnet18");
        assert_eq!(resnet.len(), 21);
        for name in ["conv1", "layer2.1.conv2", "layer2.0.shortcut.0", "linear"] {
            assert!(resnet.iter().any(|m| m == name), "{name}");
        }
        let before = modules("preactresnet18");
        assert_eq!((before.len(), &before), (21, &modules("preactresnet18-fast-at")));
        for name in ["conv1", "layer4.1.conv2", "layer2.0.shortcut.0", "linear"] {
            assert!(before.iter().any(|m| m == name), "{name}");
        }
        let wide = modules("wrn34-10");
        for name in ["conv1", "block1.layer.3.conv2", "block1.layer.0.convShortcut", "fc"] {
            assert!(wide.iter().any(|m| m == name), "{name}");
        }
    }

    #[test]
    fn every_architecture_takes_grey_images_of_other_sizes() {
        for name in NAMES {
            let graph = ArchSpec::new(name, [1, 36, 40], 3).build().unwrap();
            assert_eq!(graph.shapes().unwrap().last().unwrap(), &[3]);
        }
    }

    #[test]
    fn names_are_unique() {
        for name in NAMES {
            let graph = ArchSpec::new(name, [3, 32, 32], 10).build().unwrap();
            let mut names: Vec<_> = graph.nodes.iter().map(|n| &n.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), graph.nodes.len(), "{name}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_built() {
        let spec = ArchSpec::new("resnet18", [3, 32, 32], 10);
        let build = |spec: ArchSpec| spec.build().unwrap_err().to_string();
        assert!(build(ArchSpec::new("resnet81", [3, 32, 32], 10)).contains("did you mean `resnet"));
        assert!(build(ArchSpec::new("resnet18", [3, 8, 8], 10)).contains("does not fit"));
        assert!(build(ArchSpec { classes: 0, ..spec.clone() }).contains("0 classes"));
        assert!(build(ArchSpec { std: vec![1.0, 0.0, 1.0], ..spec.clone() }).contains("positive"));
        assert!(build(ArchSpec { width: Some(0), ..spec }).contains("width 0"));
        let offered = ArchSpec::new("resnet18", [3, 32, 32], 10).build().unwrap();
        let message = offered.module("layer2.1.conv3").unwrap_err().to_string();
        assert!(message.contains("did you mean `layer2.1.conv"), "{message}");
        assert!(offered.module("conv2").is_err(), "a substring is not a name");
    }
}
