//! What products read.

use super::rms_norm;
use crate::{Context, Tensor, Vector};
use kernels::packed::Source;

/// The input of a product: rows, or what is made of rows as they are read, with the same bits. Packed weights quantize it without
/// writing it first.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// The rows themselves.
    Rows(&'a Tensor),
    /// What [`rms_norm`] makes of rows, with its weight and what is added to the mean of squares.
    Normed(&'a Tensor, &'a Vector, f32),
}

impl Input<'_> {
    /// Its rows, written.
    pub fn tensor(self, cx: &Context) -> Tensor {
        match self {
            Input::Rows(x) => x.clone(),
            Input::Normed(x, weight, eps) => rms_norm(cx, x, weight, eps),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape().rows()
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.shape().cols()
    }

    fn shape(&self) -> &Tensor {
        match self {
            Input::Rows(x) | Input::Normed(x, ..) => x,
        }
    }

    pub(super) fn source(&self) -> Source<'_> {
        match self {
            Input::Rows(x) => Source::Rows(x.values()),
            Input::Normed(x, weight, eps) => Source::Normed { x: x.values(), weight, eps: *eps },
        }
    }
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(x: &'a Tensor) -> Input<'a> {
        Input::Rows(x)
    }
}
