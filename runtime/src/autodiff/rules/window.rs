//! The geometry that convolutions and pools share.

use crate::autodiff::error::Refusal;
use crate::autodiff::rule::View;

/// How a window moves over the spatial dimensions, a number a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    pub(super) pads_begin: Vec<usize>,
    pub(super) pads_end: Vec<usize>,
    /// The lengths of the input.
    pub(super) input: Vec<usize>,
    /// The lengths of the result.
    pub(super) output: Vec<usize>,
}

impl Window {
    /// Reads the attributes of a node that moves a window of `kernel` over its first input.
    pub(super) fn of(view: &View<'_>, kernel: Vec<usize>) -> Result<Self, Refusal> {
        let rank = kernel.len();
        let (input, output) = (view.spatial(view.input(0)?)?, view.spatial(view.output()?)?);
        if input.len() != rank || output.len() != rank {
            return Err(Refusal(format!("a kernel of {rank} dimensions over {}", input.len())));
        }
        let strides = positive(view, "strides", rank)?;
        let dilations = positive(view, "dilations", rank)?;
        let mut window = Self {
            pads_begin: vec![0; rank],
            pads_end: vec![0; rank],
            kernel,
            strides,
            dilations,
            input,
            output,
        };
        match view.attributes().string("auto_pad")?.unwrap_or("NOTSET") {
            "NOTSET" => window.read_pads(view)?,
            "VALID" => {}
            "SAME_UPPER" => window.same_pads(true),
            "SAME_LOWER" => window.same_pads(false),
            other => {
                let wrong = view.attributes().wrong("auto_pad", "a known kind", other);
                return Err(wrong.into());
            }
        }
        Ok(window)
    }

    fn read_pads(&mut self, view: &View<'_>) -> Result<(), Refusal> {
        let rank = self.kernel.len();
        let Some(pads) = view.attributes().ints("pads")? else { return Ok(()) };
        let pads: Option<Vec<usize>> = pads.iter().map(|p| usize::try_from(*p).ok()).collect();
        match pads {
            Some(pads) if pads.len() == 2 * rank => {
                self.pads_begin = pads[..rank].to_vec();
                self.pads_end = pads[rank..].to_vec();
                Ok(())
            }
            _ => {
                let expected = format!("{} numbers of at least 0", 2 * rank);
                Err(view.attributes().wrong("pads", &expected, "others").into())
            }
        }
    }

    fn same_pads(&mut self, more_at_end: bool) {
        for axis in 0..self.kernel.len() {
            let needed =
                self.output[axis].saturating_sub(1) * self.strides[axis] + self.reach(axis);
            let total = needed.saturating_sub(self.input[axis]);
            let (less, more) = (total / 2, total - total / 2);
            (self.pads_begin[axis], self.pads_end[axis]) =
                if more_at_end { (less, more) } else { (more, less) };
        }
    }

    /// How many positions the window covers, gaps included.
    pub(super) fn reach(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis].max(1) - 1) + 1
    }

    /// Whether the windows cover the input exactly once.
    pub(super) fn tiles(&self) -> bool {
        let is_one = |v: &Vec<usize>| v.iter().all(|d| *d == 1);
        self.kernel == self.strides
            && is_one(&self.dilations)
            && self.pads_begin.iter().chain(&self.pads_end).all(|p| *p == 0)
            && (0..self.kernel.len()).all(|a| self.output[a] * self.strides[a] == self.input[a])
    }

    /// What `ConvTranspose` must add at the end for the result to have the input's lengths.
    pub(super) fn output_padding(&self) -> Result<Vec<i64>, Refusal> {
        (0..self.kernel.len())
            .map(|axis| {
                let covered =
                    (self.output[axis].max(1) - 1) * self.strides[axis] + self.reach(axis);
                let padded = self.input[axis] + self.pads_begin[axis] + self.pads_end[axis];
                padded.checked_sub(covered).map(|extra| extra as i64).ok_or_else(|| {
                    Refusal(format!("a window of reach {covered} over {padded} positions"))
                })
            })
            .collect()
    }

    /// The same with pads that reach as far as the last window does.
    pub(super) fn reaching(&self) -> Self {
        let mut reaching = self.clone();
        for axis in 0..self.kernel.len() {
            let covered = (self.output[axis].max(1) - 1) * self.strides[axis] + self.reach(axis);
            let inside = self.input[axis] + self.pads_begin[axis];
            reaching.pads_end[axis] = self.pads_end[axis].max(covered.saturating_sub(inside));
        }
        reaching
    }

    /// Whether there is no window at all.
    pub(super) fn is_empty(&self) -> bool {
        self.output.contains(&0)
    }

    pub(super) fn pads(&self) -> Vec<i64> {
        self.pads_begin.iter().chain(&self.pads_end).map(|p| *p as i64).collect()
    }
}

fn positive(view: &View<'_>, name: &str, rank: usize) -> Result<Vec<usize>, Refusal> {
    let Some(values) = view.attributes().ints(name)? else { return Ok(vec![1; rank]) };
    let values: Option<Vec<usize>> = values.iter().map(|v| usize::try_from(*v).ok()).collect();
    values.filter(|v| v.len() == rank && v.iter().all(|n| *n > 0)).ok_or_else(|| {
        view.attributes().wrong(name, &format!("{rank} numbers above 0"), "others").into()
    })
}
