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
