//! A bucket of a real service as the home of a store.
//!
//! `tests/sdk/bucket.py` runs it against moto's. Against another, such as MinIO: `WEN_TEST_BUCKET=s3://models/test` and
//! `XDG_DATA_HOME=$(mktemp -d)` with the usual variables of AWS, `cargo test -p hub --test bucket -- --ignored`.

use hub::store::NewCommit;
use hub::{RefName, Repo, Revision, Store, StoreError};
use std::path::Path;
use std::time::Duration;

#[test]
#[ignore = "needs a service that speaks S3"]
fn a_model_is_kept_in_a_bucket_and_read_on_another_machine() {
    let url = std::env::var("WEN_TEST_BUCKET").expect("WEN_TEST_BUCKET is the URL of a bucket");
    let store = Store::open(Path::new(&url)).unwrap();
    let repo = Repo::model("test/bucket".parse().unwrap());
    let model = tempfile::tempdir().unwrap();
    // several parts
    let weights: Vec<u8> = (0..40_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(model.path().join("model.safetensors"), &weights).unwrap();
    std::fs::write(model.path().join("config.json"), "{}").unwrap();
    store.create(&repo, true).unwrap();
    assert!(matches!(store.create(&repo, true), Err(StoreError::RepoExists(_))));
    let operations = store.import(model.path()).unwrap();
    let (message, author, expected_parent) = ("first".to_owned(), "test".to_owned(), None);
    let new = NewCommit { message, author, expected_parent, operations };
    let made = store.commit(&repo, &RefName::main(), new.clone()).unwrap();

    // a machine that has nothing yet
    std::fs::remove_dir_all(store.root()).unwrap();
    let elsewhere = Store::open(Path::new(&url)).unwrap();
    let found = elsewhere.resolve(&repo, &Revision::main()).unwrap();
    assert_eq!(found, made);
    let snapshot = elsewhere.snapshot(&repo, &found).unwrap();
    assert!(std::fs::read(snapshot.join("model.safetensors")).unwrap() == weights);
    assert_eq!(elsewhere.commit(&repo, &RefName::main(), new).unwrap().parent, Some(made.id));
    assert_eq!(elsewhere.verify(&mut |_, _| {}).unwrap(), []);
    elsewhere.remove(&repo).unwrap();
    assert_eq!(elsewhere.collect(Duration::ZERO).unwrap().blobs, 2);
    assert!(matches!(elsewhere.info(&repo), Err(StoreError::NoRepo(_))));
}
