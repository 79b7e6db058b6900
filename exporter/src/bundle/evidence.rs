//! What stands beside a card for programs and for people, held against the card.
//!
//! The bill of materials and the page say nothing that the card does not say, so a card that was
//! changed alone differs from them. Whoever changes all three is seen by the signature alone.

use std::path::Path;

use rift_models::artifact::atomic::{self, AtomicError};
use rift_models::artifact::{Bundle, Card, Digest, JsonError, read_json};
use rift_models::onnx::OnnxError;
use serde_json::Value;

use super::{bom, optimized, readme};
use crate::verify::Check;

/// The longest part of a file that is shown.
const SHOWN: usize = 60;

/// A bundle whose card, bill of materials and page do not agree.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The bill cannot be read.
    #[error(transparent)]
    Bill(#[from] JsonError),
    /// A model cannot be read.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// They do not agree.
    #[error("`{path}` is not what its card says: {what}: {detail}")]
    Disagree {
        /// The bundle.
        path: String,
        /// What was checked.
        what: &'static str,
        /// What was found, and what was expected.
        detail: String,
    },
}

/// Writes the card of the bundle in `folder`, its bill of materials and its page.
///
/// # Errors
/// If one cannot be written.
pub fn write(folder: &Path, card: &Card) -> Result<(), AtomicError> {
    let digest = atomic::write_json(&folder.join(Bundle::CARD), card)?;
    atomic::write_json(&folder.join(Bundle::BILL), &bom::bom(card, &digest))?;
    atomic::write(&folder.join(Bundle::PAGE), readme::readme(card).as_bytes())?;
    Ok(())
}

/// Fails unless everything beside the card agrees with it; `path` is what the user knows the bundle
/// by.
///
/// # Errors
/// If something does not, or cannot be read.
pub fn ensure(bundle: &Bundle, path: &Path) -> Result<(), EvidenceError> {
    let checks = checks(bundle)?.into_iter().chain(operators_check(bundle)?);
    match checks.into_iter().find(|check| !check.holds) {
        None => Ok(()),
        Some(Check { name: what, detail, .. }) => {
            let path = path.display().to_string();
            Err(EvidenceError::Disagree { path, what, detail })
        }
    }
}

/// The card against its digest in the bill of materials, the bill and the page against the card.
///
/// # Errors
/// If the bill is no JSON.
pub fn checks(bundle: &Bundle) -> Result<Vec<Check>, JsonError> {
    let path = bundle.path.join(Bundle::BILL);
    if !path.is_file() {
        let detail = format!("there is no `{}`", Bundle::BILL);
        let missing = Check { name: "bill of materials", holds: false, detail };
        return Ok(vec![missing, page_check(bundle, true)]);
    }
    let bill: Value = read_json(&path, "bill of materials")?;
    let is_ours = bom::is_of_this_version(&bill);
    Ok(vec![card_check(bundle, &bill), bill_check(bundle, &bill), page_check(bundle, is_ours)])
}

/// The list of operators against the models; nothing where there is no optimised form.
///
/// # Errors
/// If a model cannot be read.
pub fn operators_check(bundle: &Bundle) -> Result<Option<Check>, OnnxError> {
    if bundle.card.optimized.is_none() {
        return Ok(None);
    }
    let holds = optimized::is_listed(&bundle.path)?;
    let detail = if holds {
        "those of both models".to_owned()
    } else {
        format!("`{}` does not list those of both models", Bundle::OPERATORS)
    };
    Ok(Some(Check { name: "operators", holds, detail }))
}

fn card_check(bundle: &Bundle, bill: &Value) -> Check {
    let said = bom::digest_of_card(bill).unwrap_or("none");
    let found = bundle.card_digest.hex();
    let short = |hex: &str| hex.chars().take(12).collect::<String>();
    Check::agreement("card digest", said == found, [short(said), short(found)])
}

fn bill_check(bundle: &Bundle, bill: &Value) -> Check {
    let said = bom::digest_of_card(bill).and_then(|hex| Digest::from_hex(hex).ok());
    // A card's digest that is another one is a matter of its own.
    let digest = said.unwrap_or_else(|| bundle.card_digest.clone());
    let difference = bom::difference(&bundle.card, &digest, bill);
    let holds = difference.is_none();
    let detail = difference.map_or_else(
        || "that of the card".to_owned(),
        |bom::Difference { at, expected, found }| {
            format!("at `{at}` expected {}, found {}", shown(&expected), shown(&found))
        },
    );
    Check { name: "bill of materials", holds, detail }
}

/// The page against the card, where this version wrote it; that there is one where another did.
fn page_check(bundle: &Bundle, is_ours: bool) -> Check {
    let name = "page";
    let file = Bundle::PAGE;
    let Ok(text) = std::fs::read_to_string(bundle.path.join(file)) else {
        return Check { name, holds: false, detail: format!("there is no readable `{file}`") };
    };
    let missing = if is_ours { readme::missing(&bundle.card, &text) } else { None };
    let holds = missing.is_none();
    let detail = match missing {
        Some(line) => format!("`{file}` lacks the card's line `{}`", shown(&line)),
        None if is_ours => "says what the card says".to_owned(),
        None => "of another version, not compared".to_owned(),
    };
    Check { name, holds, detail }
}

/// The beginning of a text.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
