//! The state of a judge as bytes, so that a gate that comes back goes on with the same evidence, the same latches and the same part
//! of the false-alarm budget spent.
//!
//! Written by hand, because this crate depends on nothing that could derive it: a struct lists its fields once ([`saved`]), and
//! the compiler refuses a list with one missing. There are no names and no lengths of structs in the bytes: another version of
//! the form is refused, not guessed at. Numbers are varints; a float is one as well, with its bytes turned around, so that counts,
//! which are whole numbers, are short and everything is exact to the last bit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use blueback_report::{Counts, Limit, Measure, Slot};

/// Why a state is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It was written by another version of the judge.
    #[error("the judge's state has version {seen}, and version {known} is understood")]
    Version {
        /// What it says.
        seen: u64,
        /// What is understood.
        known: u64,
    },
    /// It ends too early, or goes on after its end.
    #[error("the judge's state is cut off or too long")]
    Length,
    /// A number or a text stands for nothing.
    #[error("the judge's state has no valid {what}")]
    Wrong {
        /// What it should have been.
        what: &'static str,
    },
}

/// What can be written and read back.
pub(crate) trait Saved: Sized {
    fn save(&self, out: &mut Vec<u8>);
    fn load(input: &mut &[u8]) -> Result<Self, LoadError>;
}

/// A struct, field by field.
macro_rules! saved {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::save::Saved for $name {
            fn save(&self, out: &mut Vec<u8>) {
                $($crate::save::Saved::save(&self.$field, out);)+
            }

            fn load(input: &mut &[u8]) -> Result<Self, $crate::save::LoadError> {
                Ok(Self { $($field: $crate::save::Saved::load(input)?),+ })
            }
        }
    };
}

/// An enum without content, by numbers that never change.
macro_rules! saved_enum {
    ($name:ident { $($variant:ident = $number:literal),+ $(,)? }) => {
        impl $crate::save::Saved for $name {
            fn save(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$variant => $number),+ });
            }

            fn load(input: &mut &[u8]) -> Result<Self, $crate::save::LoadError> {
                match <u8 as $crate::save::Saved>::load(input)? {
                    $($number => Ok(Self::$variant),)+
                    _ => Err($crate::save::LoadError::Wrong { what: stringify!($name) }),
                }
            }
        }
    };
}

/// An enum of which each variant holds one thing.
macro_rules! saved_variants {
    ($name:ident { $($variant:ident($inner:ty) = $number:literal),+ $(,)? }) => {
        impl $crate::save::Saved for $name {
            fn save(&self, out: &mut Vec<u8>) {
                match self { $(Self::$variant(inner) => {
                    out.push($number);
                    $crate::save::Saved::save(inner, out);
                })+ }
            }

            fn load(input: &mut &[u8]) -> Result<Self, $crate::save::LoadError> {
                match <u8 as $crate::save::Saved>::load(input)? {
                    $($number => Ok(Self::$variant(<$inner as $crate::save::Saved>::load(input)?)),)+
                    _ => Err($crate::save::LoadError::Wrong { what: stringify!($name) }),
                }
            }
        }
    };
}

pub(crate) use {saved, saved_enum, saved_variants};

impl Saved for u8 {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let (&first, rest) = input.split_first().ok_or(LoadError::Length)?;
        *input = rest;
        Ok(first)
    }
}

impl Saved for u64 {
    fn save(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = u8::load(input)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(LoadError::Wrong { what: "number" })
    }
}

impl Saved for u32 {
    fn save(&self, out: &mut Vec<u8>) {
        u64::from(*self).save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        Self::try_from(u64::load(input)?).map_err(|_| LoadError::Wrong { what: "number" })
    }
}

impl Saved for usize {
    fn save(&self, out: &mut Vec<u8>) {
        (*self as u64).save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        Self::try_from(u64::load(input)?).map_err(|_| LoadError::Wrong { what: "number" })
    }
}

impl Saved for i64 {
    fn save(&self, out: &mut Vec<u8>) {
        (((*self << 1) ^ (*self >> 63)) as u64).save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let turned = u64::load(input)?;
        Ok((turned >> 1) as Self ^ -((turned & 1) as Self))
    }
}

impl Saved for bool {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        match u8::load(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(LoadError::Wrong { what: "yes or no" }),
        }
    }
}

impl Saved for f64 {
    fn save(&self, out: &mut Vec<u8>) {
        self.to_bits().swap_bytes().save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        Ok(Self::from_bits(u64::load(input)?.swap_bytes()))
    }
}

impl Saved for String {
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let length = usize::load(input)?;
        let (text, rest) = input.split_at_checked(length).ok_or(LoadError::Length)?;
        *input = rest;
        Self::from_utf8(text.to_vec()).map_err(|_| LoadError::Wrong { what: "text" })
    }
}

impl Saved for Arc<str> {
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        String::load(input).map(Self::from)
    }
}

impl<T: Saved> Saved for Box<T> {
    fn save(&self, out: &mut Vec<u8>) {
        (**self).save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        T::load(input).map(Self::new)
    }
}

impl<T: Saved> Saved for Option<T> {
    fn save(&self, out: &mut Vec<u8>) {
        self.is_some().save(out);
        if let Some(value) = self {
            value.save(out);
        }
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        if bool::load(input)? { T::load(input).map(Some) } else { Ok(None) }
    }
}

/// A length that what follows can hold: everything takes a byte at least.
fn length(input: &mut &[u8]) -> Result<usize, LoadError> {
    let length = usize::load(input)?;
    if length > input.len() { Err(LoadError::Length) } else { Ok(length) }
}

impl<T: Saved> Saved for Vec<T> {
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        for value in self {
            value.save(out);
        }
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        (0..length(input)?).map(|_| T::load(input)).collect()
    }
}

impl<T: Saved> Saved for VecDeque<T> {
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        for value in self {
            value.save(out);
        }
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        Vec::load(input).map(Self::from)
    }
}

impl<K: Saved + Ord, V: Saved> Saved for BTreeMap<K, V> {
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        for (key, value) in self {
            key.save(out);
            value.save(out);
        }
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        (0..length(input)?).map(|_| Ok((K::load(input)?, V::load(input)?))).collect()
    }
}

impl<T: Saved, const N: usize> Saved for [T; N] {
    fn save(&self, out: &mut Vec<u8>) {
        for value in self {
            value.save(out);
        }
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let values: Vec<T> = (0..N).map(|_| T::load(input)).collect::<Result<_, _>>()?;
        values.try_into().map_err(|_| LoadError::Length)
    }
}

impl<A: Saved, B: Saved> Saved for (A, B) {
    fn save(&self, out: &mut Vec<u8>) {
        self.0.save(out);
        self.1.save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        Ok((A::load(input)?, B::load(input)?))
    }
}

impl<A: Saved, B: Saved, C: Saved> Saved for (A, B, C) {
    fn save(&self, out: &mut Vec<u8>) {
        self.0.save(out);
        self.1.save(out);
        self.2.save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        Ok((A::load(input)?, B::load(input)?, C::load(input)?))
    }
}

saved_enum!(Slot { Blue = 0, Green = 1 });
saved_enum!(Measure { LastByte = 0, FirstByte = 1 });
saved!(Limit { measure, us });

impl Saved for Counts {
    fn save(&self, out: &mut Vec<u8>) {
        self.sum_us.save(out);
        self.iter().len().save(out);
        let mut next = 0;
        for (index, count) in self.iter() {
            (index - next).save(out);
            count.save(out);
            next = index + 1;
        }
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let sum_us = u64::load(input)?;
        let mut next = 0_usize;
        let mut pairs = Vec::new();
        for _ in 0..length(input)? {
            let index = next.saturating_add(usize::load(input)?);
            next = index.saturating_add(1);
            pairs.push((index, u64::load(input)?));
        }
        Self::from_sorted(pairs, sum_us).ok_or(LoadError::Wrong { what: "histogram" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: Saved>(value: &T) -> usize {
        let mut bytes = Vec::new();
        value.save(&mut bytes);
        let mut input = bytes.as_slice();
        let read = T::load(&mut input).expect("it was written by us");
        let mut again = Vec::new();
        read.save(&mut again);
        assert_eq!((again, input.len()), (bytes.clone(), 0));
        // No beginning of it is one, and nothing panics.
        for length in 0..bytes.len() {
            assert!(T::load(&mut &bytes[..length]).is_err());
        }
        bytes.len()
    }

    proptest! {
        #[test]
        fn values_survive(
            number: u64, signed: i64, bits: u64, text in "\\PC{0,20}",
            list in proptest::collection::vec(proptest::option::of(any::<u32>()), 0..5),
            map in proptest::collection::btree_map(any::<u32>(), any::<bool>(), 0..5),
        ) {
            check(&number);
            check(&signed);
            check(&f64::from_bits(bits));
            check(&(text, list, map));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            drop(<(String, Vec<Option<f64>>, [i64; 2])>::load(&mut bytes.as_slice()));
            drop(Counts::load(&mut bytes.as_slice()));
        }
    }

    #[test]
    fn whole_numbers_are_short() {
        assert_eq!([0.0, 1.0, 25.0, 1_000.0].map(|value| check(&value)), [1, 3, 2, 4]);
        assert!(check(&0.1) <= 10);
        let mut counts = Counts::default();
        counts.record_n(5_000, 7);
        counts.record_n(900_000, 1);
        check(&counts);
    }
}
