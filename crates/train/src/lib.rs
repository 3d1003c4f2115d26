//! Training of the models that serve: datasets, losses, optimisers, parameters, runs and their checkpoints.
//!
//! A step is: [`objective`] runs the model forward over packed examples with a context that records, and backward into
//! [`nn::Gradients`]; [`Optimizer::step`] moves the [`Parameters`] against them. The model is the one that serves; what is
//! trained of it is marked in it. A [`run::Run`] does that for a [`Recipe`], from files to an adapter or a model.

pub mod checkpoint;
pub mod data;
pub mod export;
pub mod limits;
pub mod memory;
pub mod objective;
pub mod optimizer;
pub mod parameters;
pub mod random;
pub mod recipe;
pub mod reference;
pub mod run;
pub mod schedule;
pub mod task;
pub mod tensorboard;
pub mod tokenizer;

pub use objective::Example;
pub use optimizer::{AdamW, Muon, Optimizer};
pub use parameters::{LoraTargets, Parameters, TargetError};
pub use recipe::Recipe;
pub use run::Run;
pub use schedule::Schedule;
pub use task::Task;
