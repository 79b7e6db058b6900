//! What a model takes and gives, by what it declares and by one run on blank images.

use ndarray::Array4;
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::intake::Intake;
use super::{Opening, SessionError};
use crate::autodiff::Layout;

/// Channels, height and width where the model leaves them free and nobody says.
const FREE: [usize; 3] = [3, 224, 224];

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signature {
    pub(super) intake: Intake,
    pub(super) output_name: String,
    pub(super) classes: usize,
    /// Whether height, width or channels are the user's to choose.
    pub(super) is_free: bool,
}

impl Signature {
    /// Finds it; what the model leaves free is taken from the reading or else from the images to come.
    pub(super) fn of(
        session: &mut Session,
        opening: &Opening,
        path: &str,
    ) -> Result<Self, SessionError> {
        let (name, element, dims) = image_input(session.inputs(), path)?;
        let reading = opening.role.part(&opening.reading, element, session.outputs());
        let (layout, [c, h, w]) = oriented(dims);
        let image = opening.image.unwrap_or(FREE);
        let free = match reading.size {
            Some([height, width]) => [image[0], height, width],
            None => image,
        };
        let length = |(declared, free): (i64, usize)| {
            if declared > 0 { declared as usize } else { free }
        };
        let input = [(c, free[0]), (h, free[1]), (w, free[2])].map(length);
        let fixed_batch = usize::try_from(dims[0]).ok().filter(|n| *n > 0);
        let intake = Intake::new((name, element, layout), (input, fixed_batch), &reading)?;
        let output_name = logits_output(session.outputs(), reading.output.as_deref(), path)?;
        let classes = classes(session, &intake, &output_name, path)?;
        let is_free = [c, h, w].iter().any(|declared| *declared < 1);
        Ok(Self { intake, output_name, classes, is_free })
    }
}

/// The classes that the model tells apart, found by asking it.
fn classes(
    session: &mut Session,
    intake: &Intake,
    output: &str,
    path: &str,
) -> Result<usize, SessionError> {
    // More than one, so that a model that ignores the batch is found out.
    let batch = intake.batch.unwrap_or(2);
    let [c, h, w] = intake.input;
    let blank = Array4::<f32>::zeros((batch, c, h, w));
    let image = intake.tensor(&blank.view(), batch)?;
    let outputs = session.run(vec![(intake.name.as_str(), image)]).map_err(SessionError::Run)?;
    let shape = outputs
        .get(output)
        .and_then(|value| value.dtype().tensor_shape().map(|shape| shape.to_vec()))
        .unwrap_or_default();
    match shape[..] {
        // Fully convolutional networks leave a position: N×K×1×1.
        [n, k] | [n, k, 1, 1] if n == batch as i64 && k > 1 => Ok(k as usize),
        [n, 1] | [n, 1, 1, 1] if n == batch as i64 => {
            let found = format!(
                "found output `{output}` of one number an image, expected at least two classes (a \
                 logit z of two classes is [-z, z] by `Neg` and `Concat` along axis 1, a \
                 probability p [1 - p, p])"
            );
            Err(SessionError::NotClassifier { path: path.to_owned(), found })
        }
        _ => {
            let found = format!("found output `{output}` of shape {shape:?} for {batch} images");
            Err(SessionError::NotClassifier { path: path.to_owned(), found })
        }
    }
}

fn list(outlets: &[Outlet]) -> String {
    let show = |outlet: &Outlet| format!("`{}` {}", outlet.name(), outlet.dtype());
    outlets.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// The order of the dimensions, and channels, height and width as declared.
fn oriented([_, first, second, third]: [i64; 4]) -> (Layout, [i64; 3]) {
    let is_channels = |d: i64| matches!(d, 1 | 3 | 4);
    if is_channels(third) && !is_channels(first) {
        (Layout::ChannelsLast, [third, first, second])
    } else {
        (Layout::ChannelsFirst, [first, second, third])
    }
}

/// The name, numbers and dimensions of the one image input.
fn image_input(
    inputs: &[Outlet],
    path: &str,
) -> Result<(String, TensorElementType, [i64; 4]), SessionError> {
    let found = |what: String| SessionError::NotClassifier { path: path.to_owned(), found: what };
    let [input] = inputs else {
        return Err(found(format!("found {} inputs: {}", inputs.len(), list(inputs))));
    };
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
        return Err(found(format!("found input {}", list(inputs))));
    };
    let Ok(dims) = <[i64; 4]>::try_from(shape.to_vec()) else {
        return Err(found(format!("found input {}", list(inputs))));
    };
    if !is_float(*ty) && *ty != TensorElementType::Uint8 {
        return Err(found(format!("found input {}", list(inputs))));
    }
    Ok((input.name().to_owned(), *ty, dims))
}

fn is_float(ty: TensorElementType) -> bool {
    use TensorElementType::{Bfloat16, Float16, Float32, Float64};
    matches!(ty, Float32 | Float16 | Bfloat16 | Float64)
}

/// The name of the output that holds the logits: the one that is named, the only one, or the one
/// called `logits`.
fn logits_output(
    outputs: &[Outlet],
    wanted: Option<&str>,
    path: &str,
) -> Result<String, SessionError> {
    let found = |what: String| SessionError::NotClassifier { path: path.to_owned(), found: what };
    let named = outputs.iter().find(|output| output.name() == wanted.unwrap_or("logits"));
    let output = match (outputs, named, wanted) {
        (_, Some(named), _) => named,
        (_, None, Some(name)) => {
            let what = format!("no output is called `{name}`, found {}", list(outputs));
            return Err(SessionError::Reading { what });
        }
        ([only], None, None) => only,
        _ => {
            let many = outputs.len();
            let what = format!("found {many} outputs (`--output` names one): {}", list(outputs));
            return Err(found(what));
        }
    };
    match output.dtype() {
        ValueType::Tensor { ty, shape, .. }
            if is_float(*ty)
                && (shape.len() == 2
                    || (shape.len() == 4 && shape[2..].iter().all(|d| *d <= 1))) =>
        {
            Ok(output.name().to_owned())
        }
        _ => Err(found(format!("found output {}", list(std::slice::from_ref(output))))),
    }
}
