//! The parts of the ABI.

pub mod call;
pub mod codes;
pub mod offsets;
pub mod records;
pub mod tables;

/// Structures of integers and byte arrays, their sizes asserted, without padding.
macro_rules! abi {
    ($($(#[$doc:meta])* $name:ident = $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
        const _: () = assert!(size_of::<$name>() == $size && $size % 8 == 0);
        const _: () = assert!(0 $(+ size_of::<$ty>())* == $size, "padding");
    )*};
}
pub(crate) use abi;
