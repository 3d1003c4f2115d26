//! From an ordinary directory into the store.

use super::{Operation, Store};
use crate::StoreError;
use std::path::Path;

impl Store {
    /// Stores every file in `dir` and in the folders inside it, links followed where they stay inside, and returns the
    /// operations that make a commit of them. Hidden files other than `.gitattributes` are left out, pickles are not.
    ///
    /// # Errors
    /// When a file cannot be read, has a name that no repository can have, or is neither file nor folder.
    pub fn import(&self, dir: &Path) -> Result<Vec<Operation>, StoreError> {
        let _ = dir;
        todo!()
    }
}
