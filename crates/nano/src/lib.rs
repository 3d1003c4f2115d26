//! wen-nano, the small model that ships with Wen: its training text, its tokenizer, its first weights, and the way to the
//! packed file.
//!
//! Everything is written by this program from lists and grammars of its own, in Chinese and English, from a seed. What
//! evaluation asks for, entities and phrasings alike, is held out of training. `recipes/nano/README.md` gives the reasons.

pub mod build;
pub mod card;
pub mod dataset;
pub mod example;
pub mod grammar;
pub mod initial;
pub mod pack;
pub mod tasks;
pub mod words;
