//! The packed copy of a model: kept, trusted when it may be, and made anew when not.

use kernels::Pool;
use models::{Model, Quantization};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A copy of a tiny checkpoint, to be changed.
fn copy(into: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity/qwen3-tied");
    fs::create_dir_all(into).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten().filter(|e| e.path().is_file()) {
        fs::copy(entry.path(), into.join(entry.file_name())).unwrap();
    }
    into.to_owned()
}

/// Opens and packs; says what the logits of a few tokens are.
fn logits(dir: &Path, quantization: Quantization) -> Vec<f32> {
    use nn::{Batch, Context, DType, KvCache};
    let pool = std::sync::Arc::new(Pool::new(2));
    let mut model = Model::open(dir).unwrap();
    let mut told = Vec::new();
    model.pack(quantization, &pool, &mut |done, total| told.push((done, total))).unwrap();
    assert!(told.last().is_none_or(|(done, total)| done == total), "{told:?}");
    let mut cache = KvCache::new(model.lm.kv_cache_shape(DType::F32, 32, 1)).unwrap();
    let cx = Context::new(pool);
    let hidden = model.lm.forward(&cx, &Batch::single(&[5, 9, 200, 31, 7], 0, vec![0]), &mut cache);
    model.lm.logits(&cx, &hidden).values().to_vec()
}

fn packed_file(dir: &Path) -> PathBuf {
    dir.join(".wen/int8.packed")
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_second_start_takes_the_copy_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy(&dir.path().join("model"));
    let first = logits(&model, Quantization::Int8);
    let made = inode(&packed_file(&model));
    assert_eq!(first, logits(&model, Quantization::Int8));
    assert_eq!(made, inode(&packed_file(&model)), "it was not made anew");
    assert_ne!(first, logits(&model, Quantization::None), "rounding shows");
    assert_ne!(first, logits(&model, Quantization::Int4));
    assert_eq!(made, inode(&packed_file(&model)), "each way has its own copy");

    // a copied directory has other inodes and times, but the same content
    let moved = dir.path().join("moved");
    copy(&moved);
    fs::create_dir(moved.join(".wen")).unwrap();
    fs::copy(packed_file(&model), packed_file(&moved)).unwrap();
    let taken = inode(&packed_file(&moved));
    assert_eq!(first, logits(&moved, Quantization::Int8));
    assert_eq!(taken, inode(&packed_file(&moved)));
}

#[test]
fn a_transpose_holds_the_values_of_its_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::new(2);
    let mut model = Model::open(&copy(&dir.path().join("model"))).unwrap();
    model.add_transposes(&pool);
    assert!(model.lm.head().transpose().is_none(), "only what is packed gets one");
    model.pack(Quantization::Int8, &pool, &mut |_, _| {}).unwrap();
    let before = model.weight_bytes;
    model.add_transposes(&pool);
    let bytes = model.weight_bytes;
    // rows of so small a model fill their spans worse than columns do
    assert!((before * 3 / 2..before * 5 / 2).contains(&bytes), "{bytes} of {before}");

    let head = model.lm.head();
    let transpose = head.transpose().unwrap();
    assert_eq!((transpose.rows(), transpose.cols()), (head.cols(), head.rows()));
    let (values, turned) = (head.to_f32(), transpose.to_f32());
    let (mut error, mut power) = (0.0f64, 0.0f64);
    for (row, values) in values.chunks_exact(head.cols()).enumerate() {
        for (value, turned) in values.iter().zip(turned[row..].iter().step_by(head.rows())) {
            error += f64::from(value - turned).powi(2);
            power += f64::from(*value).powi(2);
        }
    }
    assert!((error / power).sqrt() < 0.01, "{}", (error / power).sqrt());
}

#[test]
fn a_copy_that_is_not_whole_and_right_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy(&dir.path().join("model"));
    let first = logits(&model, Quantization::Int8);
    let path = packed_file(&model);
    let whole = fs::read(&path).unwrap();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("short", whole[..whole.len() / 2].to_vec()),
        ("cut by a byte", whole[..whole.len() - 1].to_vec()),
        ("longer", with(|b| b.extend(b"more"))),
        ("another magic number", with(|b| *b.last_mut().unwrap() = b'9')),
        ("an earlier layout", with(|b| *b.last_mut().unwrap() = b'1')),
        (
            "another record",
            with(|b| {
                let at = b.len() - 100;
                b[at] ^= 1
            }),
        ),
        (
            "an endless record",
            with(|b| {
                let at = b.len() - 48;
                b[at..at + 8].fill(255)
            }),
        ),
        ("without its beginning", whole[64..].to_vec()),
    ] {
        fs::write(&path, bytes).unwrap();
        let broken = inode(&path);
        assert_eq!(first, logits(&model, Quantization::Int8), "{what}");
        assert_ne!(broken, inode(&path), "{what}: it was not made anew");
    }
}

#[test]
fn a_copy_of_weights_that_have_changed_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy(&dir.path().join("model"));
    let before = logits(&model, Quantization::Int8);
    let weights = model.join("model.safetensors");
    let (mut bytes, modified) =
        (fs::read(&weights).unwrap(), fs::metadata(&weights).unwrap().modified().unwrap());
    let at = bytes.len() - 4000;
    bytes[at..].iter_mut().step_by(4).for_each(|b| *b ^= 0x55);
    bytes[at - 40_000..].chunks_exact_mut(4).take(8000).for_each(|b| b.swap(2, 1));
    fs::write(&weights, bytes).unwrap();
    // same length and same time of change, as a careless copy has them
    fs::File::options().write(true).open(&weights).unwrap().set_modified(modified).unwrap();
    let after = logits(&model, Quantization::Int8);
    assert_ne!(before, after);
    fs::remove_file(packed_file(&model)).unwrap();
    assert_eq!(after, logits(&model, Quantization::Int8));
}
