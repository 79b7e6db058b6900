//! The rules, one file a family of operators.

mod activation;
mod arithmetic;
mod blocks;
mod broadcast;
mod convolution;
mod einsum;
mod extrema;
mod gate;
mod global_pool;
mod linear;
mod lp_pool;
mod normalization;
mod pad;
mod phases;
mod pooling;
pub(super) mod quantized;
mod reduction;
mod resize;
mod response;
mod selection;
mod shape;
mod smooth;
mod softmax;
mod statistics;
mod transposed;
mod window;

use super::rule::Rule;

/// All rules.
pub(super) const FAMILIES: [&[Rule]; 23] = [
    &activation::RULES,
    &arithmetic::RULES,
    &blocks::RULES,
    &convolution::RULES,
    &einsum::RULES,
    &extrema::RULES,
    &gate::RULES,
    &global_pool::RULES,
    &linear::RULES,
    &lp_pool::RULES,
    &normalization::RULES,
    &pad::RULES,
    &pooling::RULES,
    &quantized::RULES,
    &reduction::RULES,
    &resize::RULES,
    &response::RULES,
    &selection::RULES,
    &shape::RULES,
    &smooth::RULES,
    &softmax::RULES,
    &statistics::RULES,
    &transposed::RULES,
];
