//! What is asked of the smoothed classifier.

use anyhow::ensure;
use clap::{Args, ValueEnum};
use rift_runtime::audit::smoothing::Smoothing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Certify {
    /// Randomised smoothing: the majority of the answers to noisy copies, with an L2 radius within
    /// which it provably stays the same
    Smoothing,
}

#[derive(Debug, Args)]
pub(super) struct CertifyArgs {
    /// Prove a lower bound beside the attacks' upper bound, for the smoothed classifier
    #[arg(long, value_enum, env = "RIFT_CERTIFY", requires = "sigma")]
    certify: Option<Certify>,
    /// Smoothing: the noise's standard deviation in pixel units (0.12, 0.25, 0.5 and 1 are usual)
    #[arg(long, value_name = "LENGTH", env = "RIFT_SIGMA", value_parser = above_zero,
          requires = "certify")]
    sigma: Option<f64>,
    /// Smoothing: noisy copies of an image that choose its class, and others that say how often it
    /// is given; with more of these, larger radii can be proven (10000 reach 3.2 sigma, 100000 3.8)
    #[arg(long, value_name = "N0,N", env = "RIFT_SMOOTHING_SAMPLES", value_parser = samples,
          default_value = "100,10000")]
    smoothing_samples: (usize, usize),
    /// Smoothing: the probability that the certificate of an image is wrong
    #[arg(long, value_name = "SHARE", env = "RIFT_ALPHA", value_parser = share,
          default_value = "0.001")]
    alpha: f64,
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a length above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if 0.0 < value && value < 0.5 => Ok(value),
        _ => Err("expected a probability between 0 and 0.5".to_owned()),
    }
}

fn samples(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once(',').map(|(a, b)| (a.trim().parse(), b.trim().parse()));
    match parts {
        Some((Ok(selection @ 1..=100_000_000), Ok(estimation @ 1..=100_000_000))) => {
            Ok((selection, estimation))
        }
        _ => Err("expected two numbers of copies such as `100,10000`".to_owned()),
    }
}

impl CertifyArgs {
    /// How the smoothed classifier is certified, where that is asked for.
    pub(super) fn smoothing(&self) -> anyhow::Result<Option<Smoothing>> {
        let (Some(Certify::Smoothing), Some(sigma)) = (self.certify, self.sigma) else {
            return Ok(None);
        };
        let (selection, estimation) = self.smoothing_samples;
        let smoothing = Smoothing { sigma, selection, estimation, alpha: self.alpha };
        ensure!(
            smoothing.largest_radius().is_some(),
            "{estimation} noisy copies cannot prove anything at alpha {}, expected more of them \
             (`--smoothing-samples`)",
            self.alpha
        );
        Ok(Some(smoothing))
    }
}
