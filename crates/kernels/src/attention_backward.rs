//! Gradients of causal attention over packed sequences.
//!
//! Scores are computed again from queries and keys, for a block of query rows at a time over all keys that they see, so
//! that nothing of size `[tokens, tokens]` is kept. The five products are those of [`crate::gemm`].

use crate::attention::AttentionShape;
use crate::gemm::{View, add_product_here};
use crate::pool::Parts;
use crate::softmax::softmax_row;
use crate::{Aligned, Pool};
use std::cell::Cell;
use std::ops::Range;

/// Query positions in a block: with the query heads of a group they share the unpacked keys and values.
const BLOCK_ROWS: usize = 32;

/// What a layer's attention was computed from and gave. Rows are tokens; all sequences begin in the batch.
#[derive(Clone, Copy)]
pub struct AttentionForward<'a> {
    /// Queries `[tokens, heads, head_dim]`.
    pub q: &'a [f32],
    /// Keys `[tokens, kv_heads, head_dim]`.
    pub k: &'a [f32],
    /// Values `[tokens, kv_heads, head_dim]`.
    pub v: &'a [f32],
    /// The result `[tokens, heads, head_dim]`.
    pub out: &'a [f32],
    /// Key-value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Heads, scale and window.
    pub shape: AttentionShape,
}

/// Adds to `dq`, `dk` and `dv` (of the shapes of `q`, `k` and `v`) the gradients of attention, given that of its result,
/// `dout`. `sequences` are the lengths of the packed sequences, each of which attends to itself alone.
///
/// # Panics
/// When lengths do not fit.
pub fn attention_backward(
    pool: &Pool,
    forward: AttentionForward<'_>,
    sequences: &[usize],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let AttentionForward { q, k, v, out, kv_heads, head_dim, shape } = forward;
    let tokens: usize = sequences.iter().sum();
    let (query_row, key_row) = (shape.heads * head_dim, kv_heads * head_dim);
    assert!(shape.heads.is_multiple_of(kv_heads), "query heads are whole groups");
    assert!([q.len(), out.len(), dout.len(), dq.len()].iter().all(|&len| len == tokens * query_row));
    assert!([k.len(), v.len(), dk.len(), dv.len()].iter().all(|&len| len == tokens * key_row));
    let mut tasks = Vec::new();
    let mut start = 0;
    for &len in sequences {
        tasks.extend((0..kv_heads).map(|kv_head| Task { start, len, kv_head }));
        start += len;
    }
    // the longest first, so that no thread ends up with one alone
    tasks.sort_by_key(|task| std::cmp::Reverse(task.len));
    let gradients = Gradients { dq: Parts::new(dq), dk: Parts::new(dk), dv: Parts::new(dv) };
    pool.run(tasks.len(), &|i| {
        let mut scratch = SCRATCH.take();
        tasks[i].run(forward, dout, &gradients, &mut scratch);
        SCRATCH.set(scratch);
    });
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Memory of one task.
#[derive(Default)]
struct Scratch {
    /// Of a block's queries, `[rows · group, head_dim]`: themselves, their results' gradients, their own.
    q: Aligned<f32>,
    dout: Aligned<f32>,
    dq: Aligned<f32>,
    /// `[rows · group, keys]`: probabilities, and the gradients of scores.
    p: Aligned<f32>,
    dp: Aligned<f32>,
    /// Of each query: `Σ dout · out`.
    delta: Vec<f32>,
    /// `[tokens, head_dim]` of the sequence.
    dk: Aligned<f32>,
    dv: Aligned<f32>,
}

struct Gradients {
    dq: Parts<f32>,
    dk: Parts<f32>,
    dv: Parts<f32>,
}

/// A key-value head of a sequence, with the query heads that read it.
struct Task {
    start: usize,
    len: usize,
    kv_head: usize,
}

impl Task {
    fn run(&self, forward: AttentionForward<'_>, dout: &[f32], into: &Gradients, scratch: &mut Scratch) {
        let AttentionForward { kv_heads, head_dim, .. } = forward;
        scratch.dk.reset(self.len * head_dim);
        scratch.dv.reset(self.len * head_dim);
        for from in (0..self.len).step_by(BLOCK_ROWS) {
            self.block(forward, dout, from..(from + BLOCK_ROWS).min(self.len), &into.dq, scratch);
        }
        for (sums, parts) in [(&scratch.dk, &into.dk), (&scratch.dv, &into.dv)] {
            for (i, sums) in sums.chunks_exact(head_dim).enumerate() {
                let at = ((self.start + i) * kv_heads + self.kv_head) * head_dim;
                // SAFETY: no other task has this head of this sequence.
                let part = unsafe { parts.part(at, head_dim) };
                part.iter_mut().zip(sums).for_each(|(d, s)| *d += s);
            }
        }
    }

    /// Rows `rows` of the sequence, for all query heads of the group.
    fn block(
        &self,
        forward: AttentionForward<'_>,
        dout: &[f32],
        rows: Range<usize>,
        dq: &Parts<f32>,
        s: &mut Scratch,
    ) {
        let AttentionForward { q, k, v, out, kv_heads, head_dim, shape } = forward;
        let group = shape.heads / kv_heads;
        let queries = rows.len() * group;
        // query `i` is row `rows.start + i / group` and head `kv_head · group + i % group`
        let place = |i: usize| {
            ((self.start + rows.start + i / group) * shape.heads + self.kv_head * group + i % group)
                * head_dim
        };
        let first_seen = |row: usize| shape.window.map_or(0, |w| (row + 1).saturating_sub(w));
        let keys = first_seen(rows.start)..rows.end;

        s.q.reset(queries * head_dim);
        s.dout.reset(queries * head_dim);
        s.delta.clear();
        for i in 0..queries {
            let (at, row) = (place(i), i * head_dim..(i + 1) * head_dim);
            s.q[row.clone()].copy_from_slice(&q[at..at + head_dim]);
            s.dout[row].copy_from_slice(&dout[at..at + head_dim]);
            let products = dout[at..at + head_dim].iter().zip(&out[at..at + head_dim]);
            s.delta.push(products.map(|(d, o)| d * o).sum());
        }
        let first = ((self.start + keys.start) * kv_heads + self.kv_head) * head_dim;
        let [k, v] =
            [k, v].map(|values| View::strided(&values[first..], keys.len(), head_dim, kv_heads * head_dim));
        let (q, dout) = (View::new(&s.q, head_dim), View::new(&s.dout, head_dim));
        s.p.reset(queries * keys.len());
        s.dp.reset(queries * keys.len());
        add_product_here(q, k.transposed(), &mut s.p);
        add_product_here(dout, v.transposed(), &mut s.dp);
        let scores = s.p.chunks_exact_mut(keys.len()).zip(s.dp.chunks_exact_mut(keys.len()));
        for (i, (p, dp)) in scores.enumerate() {
            let row = rows.start + i / group;
            let seen = first_seen(row) - keys.start..row + 1 - keys.start;
            probabilities(p, dp, seen, s.delta[i], shape.scale);
        }
        let (p, ds) = (View::new(&s.p, keys.len()), View::new(&s.dp, keys.len()));
        let of_keys = keys.start * head_dim..keys.end * head_dim;
        add_product_here(p.transposed(), dout, &mut s.dv[of_keys.clone()]);
        add_product_here(ds.transposed(), q, &mut s.dk[of_keys]);
        s.dq.reset(queries * head_dim);
        add_product_here(ds, k, &mut s.dq);
        for (i, sums) in s.dq.chunks_exact(head_dim).enumerate() {
            // SAFETY: no other task has this head of this row.
            let part = unsafe { dq.part(place(i), head_dim) };
            part.iter_mut().zip(sums).for_each(|(d, s)| *d += s);
        }
    }
}

/// Scores of one query to probabilities, and the gradients of probabilities to those of scores:
/// `ds = p · (dp - delta) · scale`. What isn't seen is zero in both.
fn probabilities(p: &mut [f32], dp: &mut [f32], seen: Range<usize>, delta: f32, scale: f32) {
    for values in [&mut *p, &mut *dp] {
        values[..seen.start].fill(0.0);
        values[seen.end..].fill(0.0);
    }
    softmax_row(&mut p[seen.clone()], scale);
    dp[seen.clone()].iter_mut().zip(&p[seen]).for_each(|(dp, p)| *dp = p * (*dp - delta) * scale);
}
