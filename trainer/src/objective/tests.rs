//! What the objectives are on logits of which the value is known.

use rift_models::arch::ArchSpec;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::network::device;

fn objective(method: Method, beta: f64) -> Objective {
    Objective::new(method, beta)
}

fn logits(rows: &[[f64; 3]]) -> Tensor {
    let flat: Vec<f64> = rows.concat();
    Tensor::from_slice(&flat).view([rows.len() as i64, 3]).to_kind(Kind::Float)
}

fn value(loss: Result<Tensor, TorchError>) -> f64 {
    loss.unwrap().double_value(&[])
}

#[test]
fn trades_is_the_cross_entropy_where_nothing_changes() {
    let (x, labels) =
        (logits(&[[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]), Tensor::from_slice(&[1i64, 0]));
    let plain = value(standard::loss(&objective(Method::Standard, 0.0), &x, &labels));
    assert!(
        (value(trades::loss(&objective(Method::Trades, 6.0), &x, &x, &labels)) - plain).abs()
            < 1e-6
    );
    let moved = logits(&[[2.0, 1.0, 0.5], [0.0, -1.0, 3.0]]);
    // KL of the first image by hand, of which the mean over two counts.
    let p: Vec<f64> = [1f64, 2.0, 0.5].map(f64::exp).to_vec();
    let sum: f64 = p.iter().sum();
    let kl = (p[0] / sum) * (1.0 - 2.0) + (p[1] / sum) * (2.0 - 1.0);
    let found = value(trades::loss(&objective(Method::Trades, 6.0), &x, &moved, &labels));
    assert!((found - (plain + 6.0 * kl / 2.0)).abs() < 1e-5, "{found}");
}

#[test]
fn mart_stays_finite_where_the_reference_divides_by_nothing() {
    let labels = Tensor::from_slice(&[0i64]);
    let mart = objective(Method::Mart, 5.0);
    // A wrong class of probability 1 in single precision: `log(1 − p)` would be −∞.
    let sure = logits(&[[-200.0, 200.0, 0.0]]).set_requires_grad(true);
    let loss = mart::loss(&mart, &sure, &sure, &labels).unwrap();
    // Cross-entropy 400, margin softplus(200 − 0) = 200, no divergence.
    assert!((loss.double_value(&[]) - 600.0).abs() < 1e-3);
    let gradient = Tensor::run_backward(&[&loss], &[&sure], false, false).remove(0);
    assert!(gradient.isfinite().all().int64_value(&[]) == 1, "{gradient:?}");
    let far = logits(&[[300.0, -300.0, 0.0]]);
    assert!(value(mart::loss(&mart, &far, &sure, &labels)).is_finite());
}

#[test]
fn score_lets_go_what_is_good_enough() {
    let labels = Tensor::from_slice(&[0i64]);
    let clipped = Objective { loss_clip: 0.4, ..objective(Method::Score, 0.0) };
    // 0.6 for the label and 0.2 for each other class is exactly the bound.
    let bound = logits(&[[0.6f64.ln(), 0.2f64.ln(), 0.2f64.ln()]]);
    assert!(value(score::loss(&clipped, None, &bound, &labels)) < 1e-6);
    let better = logits(&[[3.0, 0.0, 0.0]]).set_requires_grad(true);
    let loss = score::loss(&clipped, None, &better, &labels).unwrap();
    assert_eq!(loss.double_value(&[]), 0.0);
    let gradient = Tensor::run_backward(&[&loss], &[&better], false, false).remove(0);
    assert_eq!(gradient, gradient.zeros_like());
    let even = logits(&[[0.0, 0.0, 0.0]]);
    let expected = 4.0 / 9.0 + 2.0 / 9.0 - 0.16 * 3.0 / 2.0;
    assert!((value(score::loss(&clipped, None, &even, &labels)) - expected).abs() < 1e-6);
}

#[test]
fn smoothing_gives_even_shares_to_the_other_classes() {
    let (x, labels) = (logits(&[[1.0, 2.0, 0.5]]), Tensor::from_slice(&[1i64]));
    let smooth = Objective { label_smoothing: 0.2, ..objective(Method::At, 0.0) };
    let log = x.log_softmax(1, Kind::Float);
    let expected = -(0.1 * log.double_value(&[0, 0])
        + 0.8 * log.double_value(&[0, 1])
        + 0.1 * log.double_value(&[0, 2]));
    assert!((value(at::loss(&smooth, &x, &labels)) - expected).abs() < 1e-6);
    let shares = distance::smooth_labels(&labels, 3, 0.2).unwrap();
    assert!(
        (shares - Tensor::from_slice(&[0.1f32, 0.8, 0.1])).abs().max().double_value(&[]) < 1e-6
    );
}

#[test]
fn perturbed_weights_come_back_bit_for_bit() {
    device::set_threads(Some(1));
    let spec = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", [3, 8, 8], 3) };
    let network = Network::initialise(spec.build().unwrap(), 0, Device::Cpu).unwrap();
    network.unfreeze().unwrap();
    let before = network.state().unwrap();
    let images = Tensor::arange(4 * 192, (Kind::Float, Device::Cpu)).sin().view([4, 3, 8, 8]);
    let labels = Tensor::from_slice(&[0i64, 1, 2, 0]);
    let pair = Pair { clean: &images, adversarial: &images, labels: &labels };
    let loss = |mode| objective(Method::At, 0.0).loss(&network, &pair, mode);
    let plain = loss(Mode::Batch).unwrap().loss.double_value(&[]);
    let (step, gradients) = awp::gradients(&network, 0.02, loss).unwrap();
    assert!(step.loss.double_value(&[]) > plain, "the loss at the worst weights is larger");
    assert_eq!(gradients.len(), network.trained().count());
    let after = network.state().unwrap();
    for (name, values) in &before {
        let moved = after[name] != *values;
        assert_eq!(moved, name.contains("running"), "{name}");
    }
    // An error on the way leaves the weights as they were, too.
    let fails = |mode| {
        if mode == Mode::Train {
            Err(TorchError::from(tch::TchError::Torch("no".into())))
        } else {
            loss(mode)
        }
    };
    awp::gradients(&network, 0.02, fails).unwrap_err();
    let last = network.state().unwrap();
    assert!(after.iter().all(|(name, values)| last[name] == *values));
}
