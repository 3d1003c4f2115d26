//! Random activations and stored matrices from a seed.

use kernels::DType;
use kernels::matmul::Matrix;

/// xorshift64*: enough for test data.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// In -1..1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    #[allow(dead_code)]
    /// Bytes of `rows` rows of `cols` values; codes are arbitrary, scales are small and finite.
    pub fn stored(&mut self, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
        let values = rows * cols;
        match dtype {
            DType::F32 => self.floats(values).iter().flat_map(|v| v.to_le_bytes()).collect(),
            DType::F16 => {
                self.floats(values).iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
            }
            DType::BF16 => {
                self.floats(values).iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect()
            }
            _ => {
                let mut bytes: Vec<u8> = (0..values / dtype.block_len() * dtype.block_bytes())
                    .map(|_| self.bits() as u8)
                    .collect();
                let scales: &[usize] = match dtype {
                    DType::Q8_0 | DType::Q4_0 | DType::Q5_0 => &[0],
                    DType::Q6_K => &[208],
                    _ => &[0, 2],
                };
                for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
                    for &at in scales {
                        let scale = half::f16::from_f32(self.float() * 0.01).to_le_bytes();
                        block[at..at + 2].copy_from_slice(&scale);
                    }
                }
                bytes
            }
        }
    }
}

#[allow(dead_code)]
pub fn matrix(bytes: &[u8], dtype: DType, rows: usize, cols: usize) -> Matrix<'_> {
    Matrix::new(bytes, dtype, rows, cols)
}

#[allow(dead_code)]
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The values, rounded to BF16.
#[allow(dead_code)]
pub fn to_bf16(x: &[f32]) -> Vec<f32> {
    x.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect()
}
