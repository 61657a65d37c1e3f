//! The list of instruction sets.

use std::fmt;
use std::iter;
use std::sync::LazyLock;

use crate::detect;
use crate::sets::with_instruction_sets;

/// Whether the machine has features of an architecture.
macro_rules! has {
    () => {
        true
    };
    ("x86_64": $($feature:tt)+) => {{
        #[cfg(target_arch = "x86_64")]
        let has = $(std::arch::is_x86_feature_detected!($feature))&&+;
        #[cfg(not(target_arch = "x86_64"))]
        let has = false;
        has
    }};
    ("aarch64": $($feature:tt)+) => {{
        #[cfg(target_arch = "aarch64")]
        let has = $(std::arch::is_aarch64_feature_detected!($feature))&&+;
        #[cfg(not(target_arch = "aarch64"))]
        let has = false;
        has
    }};
}

/// The base of an instruction set, if it has one.
macro_rules! base {
    () => {
        None
    };
    ($base:ident) => {
        Some(Isa::$base)
    };
}

/// Writes the list.
macro_rules! list {
    ($($set:ident = $name:literal: $what:literal $(, on $base:ident, $arch:tt [$($feature:tt)+])?;)+) => {
        /// An instruction set that there is code for.
        ///
        /// Each but [`Scalar`](Self::Scalar) adds features to another, which a machine that has it has too. An op that has no code
        /// for the chosen set runs its code for the nearest of those that the set adds to: the first in [`descend`](Self::descend).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Isa {
            $(
                #[doc = concat!("`", $name, "`: ", $what)]
                $(#[doc = concat!(" It adds to [`", stringify!($base), "`](Self::", stringify!($base), ").")])?
                $set,
            )+
        }

        impl Isa {
            /// All of them; of one architecture's, slower ones first.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$set),+];

            /// The name in the option `isa`, and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$set => $name,)+
                }
            }

            /// The instruction set that this one adds to.
            #[must_use]
            pub const fn base(self) -> Option<Self> {
                match self {
                    $(Self::$set => base!($($base)?),)+
                }
            }

            /// Whether the machine has its features.
            fn ask(self) -> bool {
                match self {
                    $(Self::$set => has!($($arch: $($feature)+)?),)+
                }
            }
        }
    };
}

with_instruction_sets!(list);

/// Why a name is no instruction set to compute with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// No instruction set has the name.
    #[error(
        "there is no instruction set `{name}`; there are {}, and this machine has {}",
        names(Isa::ALL),
        names(Isa::available())
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The machine does not have it.
    #[error("this machine does not have the instruction set {isa}; it has {}", names(Isa::available()))]
    Unavailable {
        /// The instruction set.
        isa: Isa,
    },
}

fn names(sets: impl IntoIterator<Item = Isa>) -> String {
    sets.into_iter().map(Isa::name).collect::<Vec<_>>().join(", ")
}

/// For each of [`Isa::ALL`], whether the machine has it. Asked once: some of the questions are slow in virtual machines.
static MACHINE: LazyLock<[bool; Isa::ALL.len()]> =
    LazyLock::new(|| Isa::ALL.map(|isa| isa.descend().all(Isa::ask)));

impl Isa {
    /// This one, the one that it adds to, and so on, to [`Scalar`](Self::Scalar).
    pub fn descend(self) -> impl Iterator<Item = Self> {
        iter::successors(Some(self), |isa| isa.base())
    }

    /// Whether a machine with this one has `other` too.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self.descend().any(|isa| isa == other)
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        MACHINE[self as usize]
    }

    /// The set itself.
    ///
    /// # Errors
    /// When this machine does not have it.
    pub fn check(self) -> Result<Self, IsaError> {
        if self.is_available() { Ok(self) } else { Err(IsaError::Unavailable { isa: self }) }
    }

    /// Those that this machine has, in the order of [`ALL`](Self::ALL).
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The one to compute with where none is asked for: the fastest that this machine has. It is
    /// [`Avx512Bf16`](Self::Avx512Bf16) on AMD's processors alone: on Intel's the products of f32 are quicker.
    #[must_use]
    pub fn detect() -> Self {
        let is_fast = |isa: &Self| *isa != Self::Avx512Bf16 || detect::is_amd();
        Self::available().rfind(is_fast).unwrap_or(Self::Scalar)
    }

    /// The instruction set of this name, which the machine has.
    ///
    /// # Errors
    /// When no instruction set has the name, or the machine does not have it.
    pub fn by_name(name: &str) -> Result<Self, IsaError> {
        match Self::ALL.into_iter().find(|isa| isa.name() == name) {
            None => Err(IsaError::Unknown { name: name.to_owned() }),
            Some(isa) => isa.check(),
        }
    }

    /// The instruction set that a session's option `isa` asks for; the [fastest](Self::detect), where it is not set.
    ///
    /// # Errors
    /// As for [`by_name`](Self::by_name).
    pub fn of_option(option: Option<&str>) -> Result<Self, IsaError> {
        option.map_or_else(|| Ok(Self::detect()), Self::by_name)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_descends_to_scalar_through_those_it_includes() {
        use Isa::{Avx2, Avx512, Avx512Bf16, Avx512Vnni, AvxVnni, Neon, NeonDotprod, Scalar};
        let chains: [(Isa, &[Isa]); 4] = [
            (Scalar, &[Scalar]),
            (AvxVnni, &[AvxVnni, Avx2, Scalar]),
            (Avx512Bf16, &[Avx512Bf16, Avx512Vnni, Avx512, Avx2, Scalar]),
            (NeonDotprod, &[NeonDotprod, Neon, Scalar]),
        ];
        for (isa, chain) in chains {
            assert!(isa.descend().eq(chain.iter().copied()), "{isa}");
        }
        assert!(Avx512Vnni.includes(Avx2) && !Avx512Vnni.includes(AvxVnni) && !Avx2.includes(Avx512));
    }

    #[test]
    fn a_machine_has_all_that_its_sets_include() {
        for isa in Isa::available() {
            assert!(isa.descend().all(Isa::is_available), "{isa}");
        }
        assert!(Isa::Scalar.is_available() && Isa::detect().is_available());
        let foreign = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
        assert!(!foreign.is_available());
    }

    #[test]
    fn places_in_the_list_are_those_of_the_enum() {
        for (index, isa) in Isa::ALL.into_iter().enumerate() {
            assert_eq!(isa as usize, index);
        }
    }

    #[test]
    fn names_are_exact() {
        for isa in Isa::available() {
            assert_eq!(Isa::by_name(isa.name()), Ok(isa));
            assert_eq!(Isa::of_option(Some(isa.name())), Ok(isa));
        }
        assert_eq!(Isa::of_option(None), Ok(Isa::detect()));
        let all = Isa::ALL.map(Isa::name).join(", ");
        let all = format!("there are {all}, and this machine has scalar");
        for name in ["", "avx521", "AVX2", "avx2 ", "avx", "sse", "none"] {
            let error = Isa::by_name(name).unwrap_err().to_string();
            assert!(error.starts_with(&format!("there is no instruction set `{name}`; {all}")), "{error}");
        }
        let missing = Isa::ALL.into_iter().filter(|isa| !isa.is_available());
        for isa in missing {
            let error = Isa::by_name(isa.name()).unwrap_err().to_string();
            let expected = format!("this machine does not have the instruction set {isa}; it has scalar");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
