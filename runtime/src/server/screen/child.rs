//! The process in which models are tried.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use rift_models::artifact::Digest;

use super::confine;
use super::message::{Order, Ready, Verdict};
use crate::session::{Classifier, ModelFile, Opening, library};

/// The longest text about an error.
const LONGEST: usize = 2000;

/// Tries the models that come in on `input` and answers on `output`, until there are no more; the
/// whole life of the process.
///
/// # Errors
/// If ONNX Runtime cannot be had or whoever asked is gone.
pub fn serve(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    let library = library::load(order.library.as_deref()).map_err(io::Error::other)?;
    // Panics look for their place in the program's file, and afterwards no file can be opened.
    std::panic::set_hook(Box::new(|what| {
        let _ = writeln!(io::stderr(), "{what}");
    }));
    let protections = confine::confine(&order.limits, order.largest);
    say(&mut output, &Ready { library: library.path().to_owned(), protections })?;
    let mut length = [0; 8];
    loop {
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        confine::more_processor_time(&order.limits);
        let bytes = read(&mut input, u64::from_le_bytes(length))?;
        let digest = Digest::of_bytes(&bytes);
        let error = try_out(bytes, &order).err().map(|reason| one_line(&reason));
        say(&mut output, &Verdict { digest, error })?;
    }
}

fn say(output: &mut impl Write, what: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, what)?;
    output.write_all(b"\n")?;
    output.flush()
}

fn read(input: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).map_err(io::Error::other)?)?;
    let found = input.take(length).read_to_end(&mut bytes)?;
    if found as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Does what the program will do with the model when it has passed.
fn try_out(bytes: Vec<u8>, order: &Order) -> Result<(), String> {
    let opening = Opening {
        reading: order.reading.clone(),
        role: order.role,
        image: order.image,
        ..Opening::default()
    };
    let file = ModelFile::bare(Path::new("model"), bytes);
    let classifier = Classifier::of_file(file, &opening).map_err(|error| with_causes(&error))?;
    if order.measure {
        use crate::attack::gradient::{GradientError, loss_gradient};
        match loss_gradient(&classifier) {
            // An audit then follows no gradient; what counts is that the runs are over.
            Ok(_) | Err(GradientError::Autodiff(_)) => {}
            Err(error) => return Err(with_causes(&error)),
        }
    }
    Ok(())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// The text in one line, without what would not be seen.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line: String = words.join(" ").chars().take(LONGEST).collect();
    line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
