//! Einstein sums that are products.

use std::collections::BTreeSet;

use ndarray::{ArrayD, IxDyn};
use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};
use crate::session::trace::Length;

pub(super) const RULES: [Rule; 1] = [Rule { op: "Einsum", check, backward: First(backward) }];

/// What stands for as many dimensions as there are besides those with letters.
const ELLIPSIS: &str = "...";

/// The letters of each operand and of the result.
struct Equation {
    operands: Vec<String>,
    result: String,
}

impl Equation {
    fn of(view: &View<'_>) -> Result<Self, Refusal> {
        let text = view.attributes().string("equation")?.unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, right.to_owned()),
            None => (text.as_str(), implicit(&text)),
        };
        let operands: Vec<&str> = left.split(',').collect();
        if operands.len() != view.node.input.len() {
            return Err(Refusal(format!("equation `{text}` for {}", view.node.input.len())));
        }
        let mut ranks = Vec::new();
        for (slot, operand) in operands.iter().enumerate() {
            let letters = operand.replacen(ELLIPSIS, "", 1).len();
            let rest = view.shape(view.input(slot)?)?.len().checked_sub(letters);
            let is_whole = operand.contains(ELLIPSIS) || rest == Some(0);
            let rest = rest.filter(|_| is_whole);
            ranks.push(
                rest.ok_or_else(|| {
                    Refusal(format!("equation `{text}` does not fit input {slot}"))
                })?,
            );
        }
        // Those dimensions are counted from the last, as where shapes are broadcast.
        let free = ('a'..='z').chain('A'..='Z').filter(|c| !text.contains(*c));
        let deepest = ranks.iter().copied().max().unwrap_or(0);
        let row: String = free.take(deepest).collect();
        if row.len() < deepest {
            return Err(Refusal(format!("equation `{text}` leaves no letters for `{ELLIPSIS}`")));
        }
        let spell = |part: &str, rank: usize| part.replacen(ELLIPSIS, &row[deepest - rank..], 1);
        let operands: Vec<String> =
            operands.iter().zip(ranks).map(|(operand, rank)| spell(operand, rank)).collect();
        let result = spell(&right, deepest);
        for part in operands.iter().chain([&result]) {
            let unique: BTreeSet<char> = part.chars().collect();
            let is_plain = part.chars().all(|c| c.is_ascii_alphabetic());
            if !is_plain || unique.len() != part.len() {
                return Err(Refusal(format!("equation `{text}` is no plain product")));
            }
        }
        Ok(Self { operands, result })
    }

    /// The lengths that the letters of operand `slot` stand for: a dimension of length 1 is repeated
    /// where another operand has more.
    fn lengths(&self, view: &View<'_>, slot: usize) -> Result<Vec<Length>, Refusal> {
        let mut lengths = view.shape(view.input(slot)?)?.to_vec();
        for (other, operand) in self.operands.iter().enumerate() {
            let shape = view.shape(view.input(other)?)?;
            for (length, letter) in lengths.iter_mut().zip(self.operands[slot].chars()) {
                if let Some(axis) = operand.find(letter)
                    && *length == Length::Fixed(1)
                {
                    *length = shape[axis];
                }
            }
        }
        Ok(lengths)
    }

    /// The letters of operand `slot` over which it is summed alone: nothing else has them, or only
    /// with the length 1.
    fn alone(&self, view: &View<'_>, slot: usize) -> Result<String, Refusal> {
        let mut known = self.result.clone();
        for (other, operand) in self.operands.iter().enumerate().filter(|(at, _)| *at != slot) {
            let shape = view.shape(view.input(other)?)?;
            let letters = operand.chars().zip(shape).filter(|(_, l)| **l != Length::Fixed(1));
            known.extend(letters.map(|(letter, _)| letter));
        }
        Ok(self.operands[slot].chars().filter(|c| !known.contains(*c)).collect())
    }
}

/// Without an arrow the result has the dots and the letters that stand once, in alphabetical order.
fn implicit(left: &str) -> String {
    let letters: BTreeSet<char> = left.chars().filter(|c| !matches!(c, ',' | '.')).collect();
    let once = letters.into_iter().filter(|c| left.matches(*c).count() == 1);
    let dots = if left.contains(ELLIPSIS) { ELLIPSIS } else { "" };
    dots.chars().chain(once).collect()
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    let equation = Equation::of(view)?;
    for slot in (0..view.node.input.len()).filter(|s| view.is_active(*s)) {
        for letter in equation.alone(view, slot)?.chars() {
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
        let alone = equation.alone(view, slot)?;
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
        let (from, value) = (equation.lengths(view, slot)?, view.input(slot)?);
        contributions.push((slot, emit::unbroadcast(view, product, &from, value, builder)?));
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
    fn dots_for_the_other_dimensions() {
        sum("...ij,jk->...ik", &[2, 3, 2], Some(&[2, 4]));
        sum("...j,kj->...k", &[2, 3], Some(&[4, 3]));
        sum("...ij,...jk", &[2, 3, 2], Some(&[1, 2, 2, 4]));
        sum("n...->n...", &[2, 3], None);
    }

    #[test]
    fn dimensions_that_are_repeated() {
        sum("...ij,...jk->...ik", &[1, 3, 2], Some(&[1, 4, 2, 3]));
        sum("nij,nij->nij", &[1, 3], Some(&[1, 4, 3]));
        sum("nij,nij->nj", &[4, 1], Some(&[1, 4, 3]));
        sum("nij,nij->nj", &[4, 3], Some(&[1, 1, 3]));
    }

    #[test]
    fn of_the_image_with_itself() {
        Case::new(&[3, 2]).check("attention", |b, x| {
            let equation = vec![attribute::string("equation", "nid,njd->nij")];
            b.node("Einsum", &[x, x], equation)
        });
    }
}
