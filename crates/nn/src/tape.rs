//! What a backward pass needs: the steps of a forward pass, and the gradients that they give.
//!
//! A context that records ([`Context::recording`]) lets each operation put a step on its tape: a closure that holds what
//! the operation's backward needs and turns the gradient of its result into those of its inputs. An operation records only
//! where a gradient flows: from a trainable parameter, or from an input that is on the tape. So what comes before the first
//! trained layer keeps nothing and costs nothing, and frozen weights get no gradient.

use crate::{Context, Tensor};
use std::num::NonZeroU32;

/// A tensor's place on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(NonZeroU32);

/// A trained parameter's place in [`Gradients`]: parameters are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub usize);

/// Turns the gradient of a step's result into those of its inputs.
type StepBackward = Box<dyn FnOnce(&mut Pass<'_>, Tensor) + Send>;

/// The steps of a forward pass, in order.
#[derive(Default)]
pub(crate) struct Tape {
    steps: Vec<(NodeId, StepBackward)>,
}

impl Tape {
    /// Adds the step whose result is `out`.
    pub(crate) fn push(&mut self, out: &mut Tensor, backward: StepBackward) {
        // steps are numbered from 1, each with one result
        let number = u32::try_from(self.steps.len() + 1).ok().and_then(NonZeroU32::new);
        let node = NodeId(number.expect("fewer than 2^32 steps"));
        out.set_node(node);
        self.steps.push((node, backward));
    }

    /// Runs all steps backwards, from the gradients `ends` of some of their results. What a step has kept is freed as it
    /// is done. Returns the gradient of the leaf, where there is one and a gradient has come to it.
    pub(crate) fn backward(
        self,
        cx: &Context,
        ends: Vec<(Tensor, Tensor)>,
        gradients: &mut Gradients,
    ) -> Option<Tensor> {
        let nodes = (0..self.steps.len()).map(|_| None).collect();
        let mut pass = Pass { cx, nodes, gradients, leaf: None };
        for (end, gradient) in ends {
            assert_eq!(
                (end.rows(), end.cols()),
                (gradient.rows(), gradient.cols()),
                "a gradient of each value"
            );
            pass.put(end.node(), gradient);
        }
        for (node, backward) in self.steps.into_iter().rev() {
            if let Some(gradient) = pass.nodes[index(node)].take() {
                backward(&mut pass, gradient);
            }
        }
        pass.leaf
    }
}

fn index(node: NodeId) -> usize {
    node.0.get() as usize - 1
}

/// A backward pass under way.
pub(crate) struct Pass<'a> {
    /// Where it computes.
    pub(crate) cx: &'a Context,
    /// Gradients of tensors whose steps are still to come.
    nodes: Vec<Option<Tensor>>,
    /// Those of parameters.
    pub(crate) gradients: &'a mut Gradients,
    /// That of the tape's leaf, when its step has come.
    pub(crate) leaf: Option<Tensor>,
}

impl Pass<'_> {
    /// What there is of a tensor's gradient so far, to be added to and [`put`](Self::put) back.
    pub(crate) fn sum(&mut self, node: Option<NodeId>) -> Option<Tensor> {
        node.and_then(|node| self.nodes[index(node)].take())
    }

    /// [`Self::sum`], and zeros where there is nothing.
    pub(crate) fn take(&mut self, node: Option<NodeId>, rows: usize, cols: usize) -> Tensor {
        self.sum(node).unwrap_or_else(|| {
            let mut zeros = self.cx.uninit(rows, cols);
            zeros.values_mut().fill(0.0);
            zeros
        })
    }

    /// Adds to a tensor's gradient; nothing happens where none flows.
    pub(crate) fn put(&mut self, node: Option<NodeId>, gradient: Tensor) {
        let Some(node) = node else { return };
        let sum = &mut self.nodes[index(node)];
        match sum {
            None => *sum = Some(gradient),
            Some(sum) => {
                kernels::elementwise::add_assign(self.cx.pool(), sum.values_mut(), gradient.values());
            }
        }
    }
}

/// Sums of gradients by parameter. They grow over all backward passes until they are [cleared](Self::clear), which is how
/// a batch in several parts accumulates.
#[derive(Default)]
pub struct Gradients {
    sums: Vec<Sum>,
}

#[derive(Default)]
struct Sum {
    /// Empty before the first gradient.
    values: Vec<f32>,
    /// Whether something was added since it was cleared.
    used: bool,
}

impl Gradients {
    /// No gradients yet.
    pub fn new() -> Gradients {
        Gradients::default()
    }

    /// The gradient of a parameter; `None` where no backward pass has come by since the last [`Self::clear`].
    pub fn get(&self, id: ParameterId) -> Option<&[f32]> {
        self.sums.get(id.0).filter(|sum| sum.used).map(|sum| sum.values.as_slice())
    }

    /// The gradient of a parameter of `len` values, to be added to.
    pub fn sum(&mut self, id: ParameterId, len: usize) -> &mut [f32] {
        if self.sums.len() <= id.0 {
            self.sums.resize_with(id.0 + 1, Sum::default);
        }
        let sum = &mut self.sums[id.0];
        sum.values.resize(len, 0.0);
        sum.used = true;
        &mut sum.values
    }

    /// All gradients since the last [`Self::clear`], by rising number of their parameters.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ParameterId, &mut [f32])> {
        let used = self.sums.iter_mut().enumerate().filter(|(_, sum)| sum.used);
        used.map(|(id, sum)| (ParameterId(id), sum.values.as_mut_slice()))
    }

    /// Sets all gradients to zero and keeps their memory.
    pub fn clear(&mut self) {
        for sum in &mut self.sums {
            sum.values.fill(0.0);
            sum.used = false;
        }
    }
}
