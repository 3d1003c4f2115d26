//! What one step computes.

/// The tokens of one step, grouped by sequence: new prompts in chunks and running sequences one token each.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token ids of all rows.
    pub tokens: Vec<u32>,
    /// The sequences, in the order of their rows; together they cover all rows.
    pub sequences: Vec<SequenceSlice>,
}

/// The rows of one sequence in a [`Batch`].
#[derive(Clone, Debug)]
pub struct SequenceSlice {
    /// Number of rows.
    pub len: usize,
    /// Tokens of the sequence that are in the cache already: its first row stands at this position.
    pub past: usize,
    /// Its cache blocks in order; they cover `past + len` tokens.
    pub blocks: Vec<u32>,
}

impl Batch {
    /// A batch of one sequence.
    pub fn single(tokens: &[u32], past: usize, blocks: Vec<u32>) -> Batch {
        Batch { tokens: tokens.to_vec(), sequences: vec![SequenceSlice { len: tokens.len(), past, blocks }] }
    }

    /// Adds the next tokens of a sequence.
    pub fn push(&mut self, tokens: &[u32], past: usize, blocks: Vec<u32>) {
        self.tokens.extend_from_slice(tokens);
        self.sequences.push(SequenceSlice { len: tokens.len(), past, blocks });
    }

    /// Some of its rows, which rise: neighbours are a sequence, all before which is past.
    pub fn only(&self, rows: &[usize]) -> Batch {
        let mut some = Batch { tokens: Vec::with_capacity(rows.len()), sequences: Vec::new() };
        let mut rows = rows.iter().copied().peekable();
        let mut start = 0;
        for s in &self.sequences {
            let mut last = None;
            while let Some(row) = rows.next_if(|&row| row < start + s.len) {
                some.tokens.push(self.tokens[row]);
                match some.sequences.last_mut() {
                    Some(run) if last == Some(row - 1) => run.len += 1,
                    _ => {
                        let past = s.past + row - start;
                        some.sequences.push(SequenceSlice { len: 1, past, blocks: s.blocks.clone() });
                    }
                }
                last = Some(row);
            }
            start += s.len;
        }
        some
    }

    /// Whole sequences one after another, each in blocks of its own: what a training step computes.
    pub fn packed<'a>(sequences: impl IntoIterator<Item = &'a [u32]>, block_tokens: usize) -> Batch {
        let mut batch = Batch::default();
        let mut next = 0;
        for tokens in sequences {
            let blocks = next..next + tokens.len().div_ceil(block_tokens) as u32;
            next = blocks.end;
            batch.push(tokens, 0, blocks.collect());
        }
        batch
    }

    /// Cache blocks that all sequences hold together.
    pub fn blocks(&self) -> usize {
        self.sequences.iter().map(|s| s.blocks.len()).sum()
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// The position of each row in its sequence.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.sequences.iter().flat_map(|s| s.past..s.past + s.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_neighbours_in_a_sequence_are_a_run_with_a_past() {
        let mut batch = Batch::single(&[10, 11, 12, 13], 5, vec![7, 8]);
        batch.push(&[20, 21], 0, vec![9]);
        batch.push(&[30], 3, vec![1]);
        for (rows, expected) in [
            (vec![], vec![]),
            (vec![3, 4], vec![(1, 8, vec![7, 8]), (1, 0, vec![9])]),
            (
                vec![0, 1, 3, 5, 6],
                vec![(2, 5, vec![7, 8]), (1, 8, vec![7, 8]), (1, 1, vec![9]), (1, 3, vec![1])],
            ),
            ((0..7).collect(), vec![(4, 5, vec![7, 8]), (2, 0, vec![9]), (1, 3, vec![1])]),
        ] {
            let some = batch.only(&rows);
            let found: Vec<_> = some.sequences.into_iter().map(|s| (s.len, s.past, s.blocks)).collect();
            assert_eq!(found, expected, "{rows:?}");
            assert_eq!(some.tokens, rows.iter().map(|&row| batch.tokens[row]).collect::<Vec<_>>());
        }
    }
}
