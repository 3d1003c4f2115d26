//! Which instruction set the kernels use, chosen once.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Isa {
    /// Whatever the compiler's baseline for the target has.
    Portable = 1,
    /// AVX2 with FMA and F16C: x86-64 since about 2013.
    Avx2,
    /// AVX2 with the integer dot products of 256 bits.
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with the integer dot products of 512 bits.
    Avx512Vnni,
    /// And with products of BF16 numbers: Cooper Lake, Sapphire Rapids and later Xeons, AMD since Zen 4.
    Avx512Bf16,
    /// 64-bit Arm.
    Neon,
    /// 64-bit Arm with integer dot products (Armv8.2).
    NeonDot,
    /// 64-bit Arm with products of 8-bit integer matrices (Armv8.6).
    NeonI8mm,
}

/// `WEN_ISA` names an instruction set that does not exist or that this processor lacks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("WEN_ISA={asked}: this processor offers {available}")]
pub struct UnknownIsa {
    asked: String,
    available: String,
}

impl Isa {
    /// All that this processor has, the best first.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
            if avx2 && vnni && is_x86_feature_detected!("avx512bf16") {
                found.push(Isa::Avx512Bf16);
            }
            if avx2 && vnni {
                found.push(Isa::Avx512Vnni);
            }
            if avx2 && avx512 {
                found.push(Isa::Avx512);
            }
            if avx2 && is_x86_feature_detected!("avxvnni") {
                found.push(Isa::AvxVnni);
            }
            if avx2 {
                found.push(Isa::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            let dot = std::arch::is_aarch64_feature_detected!("dotprod");
            if dot && std::arch::is_aarch64_feature_detected!("i8mm") {
                found.push(Isa::NeonI8mm);
            }
            if dot {
                found.push(Isa::NeonDot);
            }
            found.push(Isa::Neon);
        }
        found.push(Isa::Portable);
        found
    }

    /// The name that `WEN_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Avx512Bf16 => "avx512-bf16",
            Isa::Neon => "neon",
            Isa::NeonDot => "neon-dot",
            Isa::NeonI8mm => "neon-i8mm",
        }
    }
}

/// 0 until the first use.
static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use: the best one, unless [`select`] said otherwise.
#[inline]
pub fn current() -> Isa {
    match CURRENT.load(Ordering::Relaxed) {
        1 => Isa::Portable,
        2 => Isa::Avx2,
        3 => Isa::AvxVnni,
        4 => Isa::Avx512,
        5 => Isa::Avx512Vnni,
        6 => Isa::Avx512Bf16,
        7 => Isa::Neon,
        8 => Isa::NeonDot,
        9 => Isa::NeonI8mm,
        _ => {
            let best = Isa::available()[0];
            CURRENT.store(best as u8, Ordering::Relaxed);
            best
        }
    }
}

/// Uses the instruction set called `name` from now on. For measuring and for tests; a program calls it once,
/// before it computes.
pub fn select(name: &str) -> Result<Isa, UnknownIsa> {
    let available = Isa::available();
    let Some(&isa) = available.iter().find(|i| i.name() == name) else {
        let available = available.iter().map(|i| i.name()).collect::<Vec<_>>().join(", ");
        return Err(UnknownIsa { asked: name.to_owned(), available });
    };
    CURRENT.store(isa as u8, Ordering::Relaxed);
    Ok(isa)
}
