//! The rules, one file a family of operators.

mod activation;
mod arithmetic;
mod convolution;
mod linear;
mod normalization;
mod pooling;
mod reduction;
mod shape;
mod softmax;
mod window;

use super::rule::Rule;

/// All rules.
pub(super) const FAMILIES: [&[Rule]; 9] = [
    &activation::RULES,
    &arithmetic::RULES,
    &convolution::RULES,
    &linear::RULES,
    &normalization::RULES,
    &pooling::RULES,
    &reduction::RULES,
    &shape::RULES,
    &softmax::RULES,
];
