//! Einstein sums that are products.

use std::collections::BTreeSet;

use ndarray::{ArrayD, IxDyn};
use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] = [Rule { op: "Einsum", check, backward: First(backward) }];

/// The letters of each operand and of the result.
struct Equation {
    operands: Vec<String>,
    result: String,
}

impl Equation {
    fn of(view: &View<'_>) -> Result<Self, Refusal> {
        let text = view.attributes().string("equation")?.unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = text.split_once("->").unwrap_or((&text, ""));
        let operands: Vec<String> = left.split(',').map(str::to_owned).collect();
        let result = if text.contains("->") { right.to_owned() } else { implicit(left) };
        for part in operands.iter().chain([&result]) {
            let unique: BTreeSet<char> = part.chars().collect();
            let is_plain = part.chars().all(|c| c.is_ascii_alphabetic());
            if !is_plain || unique.len() != part.len() {
                return Err(Refusal(format!("equation `{text}` is no plain product")));
            }
        }
        if operands.len() != view.node.input.len() {
            return Err(Refusal(format!("equation `{text}` for {}", view.node.input.len())));
        }
        for (slot, operand) in operands.iter().enumerate() {
            if view.shape(view.input(slot)?)?.len() != operand.len() {
                return Err(Refusal(format!("equation `{text}` does not fit input {slot}")));
            }
        }
        Ok(Self { operands, result })
    }

    /// The letters of operand `slot` that nothing else has, over which it is summed alone.
    fn alone(&self, slot: usize) -> String {
        let others = self.operands.iter().enumerate().filter(|(at, _)| *at != slot);
        let known: String = others.map(|(_, o)| o.as_str()).chain([self.result.as_str()]).collect();
        self.operands[slot].chars().filter(|c| !known.contains(*c)).collect()
    }
}

/// Without an arrow the result has the letters that stand once, in alphabetical order.
fn implicit(left: &str) -> String {
    let letters: BTreeSet<char> = left.chars().filter(|c| *c != ',').collect();
    letters.into_iter().filter(|c| left.matches(*c).count() == 1).collect()
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    let equation = Equation::of(view)?;
    for slot in (0..view.node.input.len()).filter(|s| view.is_active(*s)) {
        for letter in equation.alone(slot).chars() {
            let axis = equation.operands[slot].find(letter).unwrap_or_default();
            view.fixed(view.input(slot)?, axis)?;
        }
    }
    Ok(())
}

/// The sum with `g` in the operand's place and the operand's letters as the result; ones stand for
/// letters over which the operand was summed alone.
fn backward(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let equation = Equation::of(view)?;
    let mut contributions = Vec::new();
    for slot in (0..view.node.input.len()).filter(|s| view.is_active(*s)) {
        let mut inputs = vec![gradient.to_owned()];
        let mut letters = vec![equation.result.clone()];
        for other in (0..view.node.input.len()).filter(|other| *other != slot) {
            inputs.push(view.input(other)?.to_owned());
            letters.push(equation.operands[other].clone());
        }
        let alone = equation.alone(slot);
        if !alone.is_empty() {
            let length = |letter: char| {
                let axis = equation.operands[slot].find(letter).unwrap_or_default();
                view.fixed(view.input(slot)?, axis)
            };
            let shape: Vec<usize> = alone.chars().map(length).collect::<Result<_, _>>()?;
            inputs.push(builder.array("ones", &ArrayD::from_elem(IxDyn(&shape), 1.0f32)));
            letters.push(alone);
        }
        let text = format!("{}->{}", letters.join(","), equation.operands[slot]);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let product = builder.node("Einsum", &inputs, vec![attribute::string("equation", &text)]);
        contributions.push((slot, product));
    }
    Ok(contributions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::testing::{Case, weights};

    fn sum(equation: &'static str, shape: &[usize], other: Option<&[usize]>) {
        Case::new(shape).check(equation, |b, x| {
            let equation = vec![attribute::string("equation", equation)];
            let Some(other) = other else { return b.node("Einsum", &[x], equation) };
            let other = b.array("other", &weights(other));
            b.node("Einsum", &[x, &other], equation)
        });
    }

    #[test]
    fn products_turns_and_sums() {
        sum("nij,jk->nik", &[3, 2], Some(&[2, 4]));
        sum("nij,kj->nki", &[3, 2], Some(&[4, 2]));
        sum("n i j , j -> n i", &[3, 2], Some(&[2]));
        sum("nij,j->n", &[3, 2], Some(&[2]));
        sum("nij->nji", &[3, 2], None);
        sum("nij->nj", &[3, 2], None);
        sum("aij,jk", &[3, 2], Some(&[2, 4]));
    }

    #[test]
    fn of_the_image_with_itself() {
        Case::new(&[3, 2]).check("attention", |b, x| {
            let equation = vec![attribute::string("equation", "nid,njd->nij")];
            b.node("Einsum", &[x, x], equation)
        });
    }
}
