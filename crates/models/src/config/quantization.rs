//! `quantization_config`: how a Hugging Face directory stores matrices as codes in groups.

use super::{ConfigError, wrong};
use crate::checkpoint::FileError;
use crate::limits;
use kernels::packed::GROUP;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// How matrices are stored as 4-bit codes: a weight is `scale · (code - zero)`, with a scale and a zero for each group
/// of inputs of each output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GroupQuantization {
    /// Who wrote them.
    pub layout: GroupLayout,
    /// Inputs in a group, a multiple of 32; `None` for one group of all inputs.
    pub group_size: Option<usize>,
    /// Whether inputs may be in groups in any order, which a tensor `g_idx` then says.
    pub act_order: bool,
}

/// Where the codes of a matrix and its zeros lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupLayout {
    /// GPTQ as AutoGPTQ writes it: zeros are stored less one.
    Gptq,
    /// GPTQ with zeros as they are.
    GptqV2,
    /// AWQ's `gemm`.
    Awq,
}

/// What is known, for messages.
const KNOWN: &str =
    "gptq and awq with 4 bits, plain F32, F16 and BF16 tensors, and GGUF files with any of their types";

#[derive(Deserialize)]
struct Fields {
    #[serde(alias = "w_bit")]
    bits: Option<u64>,
    #[serde(alias = "q_group_size")]
    group_size: Option<i64>,
    desc_act: Option<bool>,
    checkpoint_format: Option<String>,
    is_marlin_format: Option<bool>,
    version: Option<String>,
    zero_point: Option<bool>,
}

impl GroupQuantization {
    /// Reads the value of `quantization_config`; `path` is for messages.
    pub(super) fn read(value: &Value, path: &Path) -> Result<GroupQuantization, ConfigError> {
        let method = value.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed");
        if !matches!(method, "gptq" | "awq") {
            return Err(unsupported("quantization_config", method, KNOWN));
        }
        let fields =
            Fields::deserialize(value).map_err(|source| FileError::Json { path: path.to_owned(), source })?;
        let bits = fields.bits.ok_or(ConfigError::MissingField("quantization_config.bits"))?;
        if bits != 4 {
            return Err(unsupported("quantization_config", &format!("{method} with {bits} bits"), KNOWN));
        }
        Ok(GroupQuantization {
            layout: if method == "awq" { fields.awq()? } else { fields.gptq()? },
            group_size: fields.group_size()?,
            act_order: method == "gptq" && fields.desc_act.unwrap_or(false),
        })
    }
}

impl Fields {
    fn gptq(&self) -> Result<GroupLayout, ConfigError> {
        let field = "quantization_config.checkpoint_format";
        let marlin = self.is_marlin_format.unwrap_or(false).then_some("marlin");
        match marlin.or(self.checkpoint_format.as_deref()).unwrap_or("gptq") {
            "gptq" => Ok(GroupLayout::Gptq),
            "gptq_v2" => Ok(GroupLayout::GptqV2),
            other => Err(unsupported(field, other, "gptq, gptq_v2")),
        }
    }

    fn awq(&self) -> Result<GroupLayout, ConfigError> {
        let version = self.version.as_deref().unwrap_or("gemm");
        if !version.eq_ignore_ascii_case("gemm") {
            return Err(unsupported("quantization_config.version", version, "gemm"));
        }
        if self.zero_point == Some(false) {
            return Err(unsupported("quantization_config.zero_point", "false", "true"));
        }
        Ok(GroupLayout::Awq)
    }

    fn group_size(&self) -> Result<Option<usize>, ConfigError> {
        let field = "quantization_config.group_size";
        let found = self.group_size.ok_or(ConfigError::MissingField(field))?;
        if found == -1 {
            return Ok(None);
        }
        let size = usize::try_from(found).ok();
        let size = size.filter(|n| (1..=limits::MAX_SIZE).contains(n) && n.is_multiple_of(GROUP));
        let expected = || format!("a multiple of {GROUP}, or -1 for whole rows");
        size.map(Some).ok_or_else(|| wrong(field, found, expected()))
    }
}

impl GroupLayout {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            GroupLayout::Gptq => "GPTQ",
            GroupLayout::GptqV2 => "GPTQ v2",
            GroupLayout::Awq => "AWQ",
        }
    }
}

impl fmt::Display for GroupQuantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, 4 bits, ", self.layout.name())?;
        match self.group_size {
            Some(size) => write!(f, "groups of {size}")?,
            None => f.write_str("whole rows")?,
        }
        f.write_str(if self.act_order { ", in any order" } else { "" })
    }
}

fn unsupported(field: &'static str, found: &str, known: &'static str) -> ConfigError {
    ConfigError::Unsupported { field, found: found.to_owned(), known }
}
