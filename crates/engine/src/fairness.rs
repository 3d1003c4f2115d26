//! Whose turn it is: workspaces by the tokens that they have used of late.
//!
//! Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", arXiv:2401.00588): the workspace
//! with the fewest weighted tokens goes next, and one that comes back starts where the least served of the others is, so
//! that nobody saves up turns. Within a workspace the larger priority comes first, then who asked first.

use crate::prefix_cache::Scope;
use crate::sequence::Sequence;
use std::collections::HashMap;

/// What a token of an answer counts, beside one of a prompt: it takes a step, which a prompt's does not.
const ANSWER_WEIGHT: u64 = 2;

/// The counters of the workspaces that have something waiting or running.
#[derive(Default)]
pub(crate) struct Turns(HashMap<Scope, u64>);

impl Turns {
    /// Forgets who has nothing left and admits who has come.
    pub fn update(&mut self, active: impl Iterator<Item = Scope> + Clone) {
        if !self.0.is_empty() {
            let present: std::collections::HashSet<Scope> = active.clone().collect();
            self.0.retain(|workspace, _| present.contains(workspace));
        }
        let least = self.0.values().copied().min().unwrap_or(0);
        for workspace in active {
            self.0.entry(workspace).or_insert(least);
        }
    }

    /// Counts tokens of a prompt.
    pub fn prompt(&mut self, workspace: Scope, tokens: usize) {
        *self.0.entry(workspace).or_insert(0) += tokens as u64;
    }

    /// Counts a token of an answer.
    pub fn answer(&mut self, workspace: Scope) {
        *self.0.entry(workspace).or_insert(0) += ANSWER_WEIGHT;
    }

    /// The place of the sequence whose turn it is.
    pub fn next<'a>(&self, waiting: impl Iterator<Item = &'a Sequence> + Clone) -> Option<usize> {
        let used = |s: &Sequence| self.0.get(&s.origin.workspace).copied().unwrap_or(0);
        let workspace = waiting.clone().min_by_key(|s| used(s))?.origin.workspace;
        let own = waiting.enumerate().filter(|(_, s)| s.origin.workspace == workspace);
        own.min_by_key(|(_, s)| std::cmp::Reverse(s.origin.priority)).map(|(at, _)| at)
    }
}
