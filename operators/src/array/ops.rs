//! What is computed of single elements.

use std::fmt;

macro_rules! operations {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)*
                })
            }
        }
    };
}

operations! {
    /// Of one element. Those without a comment are what the function of that name is in NumPy.
    Unary {
        /// `-x`; integers wrap.
        Negative = "neg",
        /// `|x|`; integers wrap.
        Absolute = "abs",
        /// -1, 0 or 1; NaN of NaN.
        Sign = "sign",
        /// Square root.
        Sqrt = "sqrt",
        /// Cube root.
        Cbrt = "cbrt",
        /// `e^x`.
        Exp = "exp",
        /// `2^x`.
        Exp2 = "exp2",
        /// `e^x - 1`.
        Expm1 = "expm1",
        /// Natural logarithm.
        Ln = "ln",
        /// To base 2.
        Log2 = "log2",
        /// To base 10.
        Log10 = "log10",
        /// `ln(1 + x)`.
        Log1p = "log1p",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
        /// Tangent.
        Tan = "tan",
        /// Inverse sine.
        Asin = "arcsin",
        /// Inverse cosine.
        Acos = "arccos",
        /// Inverse tangent.
        Atan = "arctan",
        /// Hyperbolic sine.
        Sinh = "sinh",
        /// Hyperbolic cosine.
        Cosh = "cosh",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Inverse hyperbolic sine.
        Asinh = "arcsinh",
        /// Inverse hyperbolic cosine.
        Acosh = "arccosh",
        /// Inverse hyperbolic tangent.
        Atanh = "arctanh",
        /// Down to an integer.
        Floor = "floor",
        /// Up to an integer.
        Ceil = "ceil",
        /// Towards 0.
        Trunc = "trunc",
        /// To the nearest integer, halves to the even one.
        Rint = "rint",
        /// Truth values: the other one; integers: all bits.
        Not = "not",
        /// Whether it is NaN.
        IsNan = "isnan",
        /// Whether it is an infinity.
        IsInfinite = "isinf",
        /// Whether it is neither.
        IsFinite = "isfinite",
    }
}

impl Unary {
    /// Whether the result is a truth value.
    pub const fn is_test(self) -> bool {
        matches!(self, Self::IsNan | Self::IsInfinite | Self::IsFinite)
    }
}

operations! {
    /// Of two elements of one type.
    Binary {
        /// Sum; integers wrap.
        Add = "+",
        /// Difference; integers wrap.
        Subtract = "-",
        /// Product; integers wrap.
        Multiply = "*",
        /// Quotient of floats.
        Divide = "/",
        /// Quotient, down to an integer; of integers by 0 it is 0.
        FloorDivide = "//",
        /// What `FloorDivide` leaves: it has the divisor's sign; of integers by 0 it is 0.
        Remainder = "%",
        /// Power; integers wrap, and a negative exponent makes them 0 (or ±1 of ±1).
        Power = "**",
        /// The smaller; NaN spreads.
        Minimum = "minimum",
        /// The larger; NaN spreads.
        Maximum = "maximum",
        /// The angle of a point (y, x).
        Atan2 = "arctan2",
        /// The length of a vector.
        Hypot = "hypot",
        /// Bits, or truth values.
        And = "&",
        /// Bits, or truth values.
        Or = "|",
        /// Bits, or truth values.
        Xor = "^",
    }
}

operations! {
    /// Comparisons; whatever is compared with NaN is false, but for `!=`.
    Compare {
        /// Equal.
        Equal = "==",
        /// Not equal.
        NotEqual = "!=",
        /// Less.
        Less = "<",
        /// Less or equal.
        LessEqual = "<=",
        /// Greater.
        Greater = ">",
        /// Greater or equal.
        GreaterEqual = ">=",
    }
}
