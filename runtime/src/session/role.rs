//! What of a reading is said of which model, where a twin lends its gradients.

use ort::value::{Outlet, TensorElementType};
use rift_models::artifact::Reading;
use serde::{Deserialize, Serialize};

/// What a model is to the user who says how models are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The only one: everything is said of it.
    #[default]
    Alone,
    /// The one that is judged, while a twin lends its gradients. How floats are normalised says
    /// nothing to a model that takes bytes, and then is about the twin.
    Judged,
    /// The twin. Likewise; and an output that it does not have is that of the other alone.
    Twin,
}

impl Role {
    /// What of `reading` is said of a model that takes and gives this.
    pub(super) fn part(
        self,
        reading: &Reading,
        element: TensorElementType,
        outputs: &[Outlet],
    ) -> Reading {
        let mut part = reading.clone();
        if self != Self::Alone && element == TensorElementType::Uint8 {
            part.scale = None;
            part.mean.clear();
            part.std.clear();
        }
        if self == Self::Twin {
            part.output.take_if(|name| outputs.iter().all(|output| output.name() != name.as_str()));
        }
        part
    }
}
