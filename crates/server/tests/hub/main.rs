//! The hub over the real router: whole flows in each dialect, who may see what, and names that try to get out.

mod access;
mod client;
mod hugging_face;
mod model_scope;
mod names;
