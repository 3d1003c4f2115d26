//! Which files of a repository a model needs.

use super::PullError;
use crate::name::{FilePath, NameError, RepoKind};
use crate::remote::{Listing, RemoteFile};
use glob::Pattern;
use std::fmt;

/// The files that are pulled, and those that are not.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What is pulled, in the order of the paths.
    pub files: Vec<RemoteFile>,
    /// What is not.
    pub left_out: Vec<LeftOut>,
}

/// A file that is not pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it lies at the hub.
    pub path: String,
    /// Bytes; 0 where its name alone was enough.
    pub size: u64,
    /// Why it stays there.
    pub why: Why,
}

/// Why a file is not pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It runs code when it is read, or is made to.
    Pickle,
    /// It is code.
    Code,
    /// Its weights are in another file too, or in another form.
    Duplicate,
    /// No model needs it, or nobody asked for it.
    NotNeeded,
    /// Its name cannot be.
    Name(NameError),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Pickle => "pickles run code when they are read",
            Why::Code => "code of models is not run",
            Why::Duplicate => "the same weights in another form",
            Why::NotNeeded => "not needed",
            Why::Name(error) => return error.fmt(f),
        })
    }
}

/// Endings of files that are pickles, or may be.
const PICKLES: [&str; 11] =
    ["bin", "pt", "pth", "pkl", "pickle", "ckpt", "pt2", "joblib", "npy", "npz", "dill"];
/// Endings of programs, and of what programs are made of.
const CODE: [&str; 12] =
    ["py", "pyc", "pyd", "ipynb", "so", "dll", "dylib", "exe", "sh", "bat", "jar", "whl"];
/// Endings of what tokenizers and settings are kept in.
const SETTINGS: [&str; 6] = ["json", "txt", "model", "tiktoken", "jinja", "md"];
/// How the names of licences begin.
const LICENCES: [&str; 5] = ["LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY"];
/// The form of a GGUF repository with many that is taken when nobody chose: the one that most people do.
pub(super) const USUAL_QUANTIZATION: &str = "Q4_K_M";

/// Chooses what is pulled of `listing`: with `include`, the files that match one of its patterns (`*` matches `/` too);
/// else with `file`, that file, or the GGUF files whose names have it as a part; else what a model needs, or all of a
/// dataset. Pickles and code are not among them, whatever is asked for.
///
/// # Errors
/// When nothing is left, and when somebody has to choose between GGUF files.
pub(super) fn choose(
    kind: RepoKind,
    listing: &Listing,
    include: &[Pattern],
    file: Option<&str>,
) -> Result<Choice, PullError> {
    let files = &listing.files;
    let mut choice = Choice { files: Vec::new(), left_out: Vec::new() };
    let gguf = match kind {
        RepoKind::Model => Gguf::choose(files, file)?,
        RepoKind::Dataset => Gguf::None,
    };
    let safetensors = files.iter().any(|file| is_weights(&file.path));
    for file in files {
        let why = match danger(&file.path) {
            Some(why) => Some(why),
            None if !include.is_empty() => {
                let named = include.iter().any(|pattern| pattern.matches(file.path.as_str()));
                (!named).then_some(Why::NotNeeded)
            }
            None if kind == RepoKind::Dataset => None,
            None => match &gguf {
                Gguf::Chosen(chosen) if !safetensors || chosen.asked => {
                    wanted_beside_gguf(&file.path, chosen)
                }
                _ => wanted(&file.path, safetensors),
            },
        };
        match why {
            None => choice.files.push(file.clone()),
            Some(why) => choice.left_out.push(LeftOut { path: file.path.to_string(), size: file.size, why }),
        }
    }
    let refused = listing.refused.iter().map(|error| LeftOut {
        path: error.text.escape_debug().to_string(),
        size: 0,
        why: Why::Name(error.clone()),
    });
    choice.left_out.extend(refused);
    let usable = kind == RepoKind::Dataset || safetensors || matches!(gguf, Gguf::Chosen(_));
    check(&choice, include, usable)?;
    Ok(choice)
}

/// Checks that there is something to pull, and that it is a model unless somebody named the files.
fn check(choice: &Choice, include: &[Pattern], has_weights: bool) -> Result<(), PullError> {
    let pickles = || choice.left_out.iter().any(|file| file.why == Why::Pickle);
    match (choice.files.is_empty(), include.is_empty()) {
        (true, false) => Err(PullError::NoMatch { pickles: pickles() }),
        (_, true) if !has_weights => Err(PullError::NoModel { pickles: pickles() }),
        _ => Ok(()),
    }
}

/// The ending of a file's name, in small letters.
fn ending(path: &FilePath) -> String {
    path.file_name().rsplit_once('.').map_or_else(String::new, |(_, ending)| ending.to_ascii_lowercase())
}

/// Why a file is not pulled, whoever asks for it.
pub(crate) fn danger(path: &FilePath) -> Option<Why> {
    let ending = ending(path);
    if PICKLES.contains(&ending.as_str()) {
        return Some(Why::Pickle);
    }
    CODE.contains(&ending.as_str()).then_some(Why::Code)
}

/// Whether these are weights that loaders look for. Copies in the form that a model's makers train with, which some put
/// beside them, are not.
fn is_weights(path: &FilePath) -> bool {
    ending(path) == "safetensors" && path.parts().count() == 1 && !path.as_str().starts_with("consolidated")
}

/// Whether it lies where loaders look: at the top, among further chat templates, or in a folder of sentence-transformers'
/// (`1_Pooling`).
fn is_near(path: &FilePath) -> bool {
    let mut parts = path.parts();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), None, None) => true,
        (Some(folder), Some(_), None) => {
            folder == "additional_chat_templates"
                || folder
                    .split_once('_')
                    .is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        }
        _ => false,
    }
}

/// Why a file is not needed by a model of safetensors; `None` if it is.
fn wanted(path: &FilePath, safetensors: bool) -> Option<Why> {
    let ending = ending(path);
    let weights = ["safetensors", "gguf", "h5", "msgpack", "onnx", "ot", "tflite", "pb", "mlmodel"];
    if weights.contains(&ending.as_str()) {
        let near = ending == "safetensors" && is_near(path) && !path.as_str().starts_with("consolidated");
        return match (near, safetensors) {
            (true, _) => None,
            (false, true) => Some(Why::Duplicate),
            (false, false) => Some(Why::NotNeeded),
        };
    }
    (!is_setting(path)).then_some(Why::NotNeeded)
}

/// Whether it is a setting, a tokenizer, a model card or a licence.
fn is_setting(path: &FilePath) -> bool {
    let licence = path.parts().count() == 1 && LICENCES.iter().any(|name| path.as_str().starts_with(name));
    licence || is_near(path) && SETTINGS.contains(&ending(path).as_str())
}

/// Why a file is not needed beside the chosen GGUF files, which hold tokenizer and settings themselves.
fn wanted_beside_gguf(path: &FilePath, chosen: &Chosen) -> Option<Why> {
    match ending(path).as_str() {
        "gguf" if chosen.files.contains(path) => None,
        "gguf" | "safetensors" => Some(Why::Duplicate),
        _ => (!is_setting(path)).then_some(Why::NotNeeded),
    }
}

/// The GGUF files of a repository that make one model.
enum Gguf {
    None,
    Chosen(Chosen),
}

struct Chosen {
    files: Vec<FilePath>,
    /// Whether the person named them.
    asked: bool,
}

impl Gguf {
    /// The model that `file` names, else the only one, else the usual one.
    fn choose(files: &[RemoteFile], file: Option<&str>) -> Result<Gguf, PullError> {
        let models = models(files.iter().map(|file| &file.path).filter(|path| ending(path) == "gguf"));
        if let Some(asked) = file {
            return match matching(&models, asked)[..] {
                [] if files.iter().any(|file| file.path.as_str() == asked) => Ok(Gguf::None),
                [] => Err(PullError::NoFile { asked: asked.to_owned(), found: names(&models) }),
                [one] => Ok(Gguf::Chosen(Chosen { files: one.clone(), asked: true })),
                _ => Err(PullError::Ambiguous(names(&models))),
            };
        }
        let chosen = match &models[..] {
            [] => return Ok(Gguf::None),
            [one] => one,
            many => match matching(many, USUAL_QUANTIZATION)[..] {
                [usual] => usual,
                // beside safetensors they are not needed
                _ if files.iter().any(|file| is_weights(&file.path)) => return Ok(Gguf::None),
                _ => return Err(PullError::Ambiguous(names(many))),
            },
        };
        Ok(Gguf::Chosen(Chosen { files: chosen.clone(), asked: false }))
    }
}

/// GGUF files by the models that they are: the pieces of one come together. Projectors of images are no models.
pub(super) fn models<'a>(files: impl Iterator<Item = &'a FilePath>) -> Vec<Vec<FilePath>> {
    let mut models: Vec<(String, Vec<FilePath>)> = Vec::new();
    for path in files.filter(|path| !path.file_name().to_ascii_lowercase().contains("mmproj")) {
        let whole = without_piece(path.as_str());
        match models.iter_mut().find(|(name, _)| *name == whole) {
            Some((_, pieces)) => pieces.push(path.clone()),
            None => models.push((whole, vec![path.clone()])),
        }
    }
    models
        .into_iter()
        .map(|(_, mut pieces)| {
            pieces.sort();
            pieces
        })
        .collect()
}

/// The name without `-00001-of-00003`.
fn without_piece(name: &str) -> String {
    let Some(stem) = name.strip_suffix(".gguf") else { return name.to_owned() };
    let mut parts = stem.rsplitn(4, '-');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(count), Some("of"), Some(number), Some(whole))
            if [count, number].iter().all(|n| n.len() == 5 && n.bytes().all(|b| b.is_ascii_digit())) =>
        {
            format!("{whole}.gguf")
        }
        _ => name.to_owned(),
    }
}

/// The models whose first file is called `asked`, or has it as a part of its name between other characters than letters,
/// digits and `_`, in whatever case.
pub(super) fn matching<'a>(models: &'a [Vec<FilePath>], asked: &str) -> Vec<&'a Vec<FilePath>> {
    let exact: Vec<_> =
        models.iter().filter(|model| model.iter().any(|file| file.as_str() == asked)).collect();
    if !exact.is_empty() {
        return exact;
    }
    let wanted = asked.to_ascii_lowercase();
    let has = |model: &&Vec<FilePath>| {
        let name = model.first().map_or_else(String::new, |file| file.as_str().to_ascii_lowercase());
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
        name.match_indices(&wanted).any(|(at, part)| {
            !part.is_empty()
                && is_edge(name[..at].chars().next_back())
                && is_edge(name[at + part.len()..].chars().next())
        })
    };
    models.iter().filter(has).collect()
}

/// What there is to choose from, for messages.
pub(super) fn names(models: &[Vec<FilePath>]) -> String {
    let names: Vec<&str> = models.iter().filter_map(|model| Some(model.first()?.as_str())).take(20).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sha256Digest;
    use crate::remote::Announced;

    fn listing(files: &str) -> Listing {
        let file = |path: &str| RemoteFile {
            path: path.parse().unwrap(),
            size: 1,
            digest: Announced::Sha256(Sha256Digest::of(b"")),
            lfs: true,
        };
        Listing::of_files(files.split(' ').map(file).collect())
    }

    fn chosen(files: &str, include: &[&str], file: Option<&str>) -> Result<String, PullError> {
        let include: Vec<Pattern> = include.iter().map(|text| Pattern::new(text).unwrap()).collect();
        let choice = choose(RepoKind::Model, &listing(files), &include, file)?;
        Ok(choice.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_model_needs_its_weights_settings_tokenizer_and_licence() {
        for (files, expected) in [
            (
                "config.json model.safetensors tokenizer.json merges.txt vocab.json README.md LICENSE pytorch_model.bin \
                 modeling_x.py figures/a.png .gitattributes",
                "config.json model.safetensors tokenizer.json merges.txt vocab.json README.md LICENSE",
            ),
            (
                "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json \
                 consolidated.safetensors original/consolidated.00.pth onnx/model.onnx tf_model.h5 config.json",
                "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json config.json",
            ),
            (
                "model.safetensors modules.json 1_Pooling/config.json 2_Dense/model.safetensors x/config.json chat_template.jinja \
                 additional_chat_templates/rag.jinja",
                "model.safetensors modules.json 1_Pooling/config.json 2_Dense/model.safetensors chat_template.jinja \
                 additional_chat_templates/rag.jinja",
            ),
            ("a-Q8_0.gguf README.md a.png", "a-Q8_0.gguf README.md"),
            ("a-Q2_K.gguf a-Q4_K_M.gguf a-Q8_0.gguf mmproj-f16.gguf", "a-Q4_K_M.gguf"),
            (
                "q/a-Q4_K_M-00001-of-00002.gguf q/a-Q4_K_M-00002-of-00002.gguf b.gguf",
                "q/a-Q4_K_M-00001-of-00002.gguf q/a-Q4_K_M-00002-of-00002.gguf",
            ),
            ("model.safetensors a-Q2_K.gguf a-Q8_0.gguf", "model.safetensors"),
            (
                "adapter_config.json adapter_model.safetensors adapter_model.bin",
                "adapter_config.json adapter_model.safetensors",
            ),
        ] {
            assert_eq!(chosen(files, &[], None).unwrap(), expected);
        }
    }

    #[test]
    fn who_asks_for_files_gets_them_and_no_pickle() {
        let files = "a-Q2_K.gguf a-Q8_0.gguf sub/x.png pytorch_model.bin run.py model.safetensors";
        for (include, file, expected) in [
            (&["*Q8_0.gguf"][..], None, "a-Q8_0.gguf"),
            (&["*.png", "*.gguf"], None, "a-Q2_K.gguf a-Q8_0.gguf sub/x.png"),
            (&["*"], None, "a-Q2_K.gguf a-Q8_0.gguf sub/x.png model.safetensors"),
            (&[], Some("Q8_0"), "a-Q8_0.gguf"),
            (&[], Some("q2_k"), "a-Q2_K.gguf"),
            (&[], Some("a-Q8_0.gguf"), "a-Q8_0.gguf"),
            (&[], Some("model.safetensors"), "model.safetensors"),
        ] {
            assert_eq!(chosen(files, include, file).unwrap(), expected);
        }
        for (files, include, file, why) in [
            (files, &["*.bin"][..], None, "pickle"),
            (files, &["*.exr"], None, "matches"),
            (files, &[], Some("Q4_0"), "Q4_0"),
            (files, &[], Some("Q8"), "`Q8`"),
            ("pytorch_model.bin config.json", &[], None, "pickle"),
            ("README.md", &[], None, "no weights"),
            ("a-Q2_K.gguf a-Q8_0.gguf", &[], None, "a-Q2_K.gguf, a-Q8_0.gguf"),
        ] {
            let error = chosen(files, include, file).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
