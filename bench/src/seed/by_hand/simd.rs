//! One text, compiled once for each kind of vector instructions; the widest that the processor has is chosen at run time.
//!
//! ```text
//!   dispatched! { fn name(x: &[f64]) -> f64 = body }      fn name(x: &[f64]) -> f64 {
//!                                                             AVX-512?      body::<true>   as 512-bit code
//!                                                             AVX2 + FMA?   body::<true>   as 256-bit code
//!                                                             else          body::<false>  as the target's own code
//! ```
//!
//! A body is `#[inline(always)]`, and so is all that it calls: only then is it compiled anew for each. Its parameter says whether
//! multiply-adds are instructions.

/// `a·b + c`, fused where that is an instruction. Elsewhere it would be a call.
#[inline(always)]
pub(super) fn fma<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

macro_rules! dispatched {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        pub(super) fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
                fn in_512_bits($($argument: $type),*) $(-> $result)? {
                    $body::<true>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn in_256_bits($($argument: $type),*) $(-> $result)? {
                    $body::<true>($($argument),*)
                }
                let fused = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let wide = is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl");
                if fused && wide && is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has all of these features.
                    return unsafe { in_512_bits($($argument),*) };
                }
                if fused {
                    // SAFETY: the processor has both features.
                    return unsafe { in_256_bits($($argument),*) };
                }
            }
            $body::<false>($($argument),*)
        }
    };
}

pub(super) use dispatched;
