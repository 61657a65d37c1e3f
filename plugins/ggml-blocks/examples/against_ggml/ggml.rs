//! ggml's functions, from its shared library.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use bitquilt_ggml_blocks::{Format, Importance};
use libloading::Library;

/// The beginning of ggml's `struct ggml_type_traits`.
#[repr(C)]
struct TypeTraits {
    name: *const c_char,
    block_len: i64,
    block_len_interleave: i64,
    block_bytes: usize,
    is_quantized: bool,
    to_float: Option<unsafe extern "C" fn(*const c_void, *mut f32, i64)>,
}

/// `struct ggml_init_params`.
#[repr(C)]
struct InitParams {
    mem_size: usize,
    mem_buffer: *mut c_void,
    no_alloc: bool,
}

type TypeTraitsOf = unsafe extern "C" fn(c_int) -> *const TypeTraits;
type QuantizeChunk = unsafe extern "C" fn(c_int, *const f32, *mut c_void, i64, i64, i64, *const f32) -> usize;

/// The library.
pub struct Ggml {
    library: Library,
}

/// A format of the library's.
#[derive(Clone, Copy)]
pub struct Type {
    id: c_int,
    traits: &'static TypeTraits,
    quantize_chunk: QuantizeChunk,
}

// SAFETY: the name behind the pointer is a constant of the library.
unsafe impl Sync for TypeTraits {}

impl Ggml {
    /// Opens the library and initializes its tables.
    pub fn open(path: &Path) -> Self {
        // SAFETY: ggml's library has constructors of C++'s standard library alone.
        let library = unsafe { Library::new(path) }.unwrap();
        let params = InitParams { mem_size: 1 << 16, mem_buffer: std::ptr::null_mut(), no_alloc: false };
        // SAFETY: these are the signatures in ggml.h; the context is freed once.
        unsafe {
            let init = library.get::<unsafe extern "C" fn(InitParams) -> *mut c_void>(b"ggml_init").unwrap();
            let free = library.get::<unsafe extern "C" fn(*mut c_void)>(b"ggml_free").unwrap();
            free(init(params));
        }
        Self { library }
    }

    /// The format of that name.
    pub fn format(&self, format: &Format) -> Type {
        // SAFETY: these are the signatures in ggml.h; a type's traits are constants of the library, which is never
        // closed while a `Type` is used: `main` holds it.
        unsafe {
            let traits_of = self.library.get::<TypeTraitsOf>(b"ggml_get_type_traits").unwrap();
            let quantize_chunk = *self.library.get::<QuantizeChunk>(b"ggml_quantize_chunk").unwrap();
            // Beyond the last type nothing is asked for: every format's is among these.
            for id in 0..43 {
                let traits: &TypeTraits = &*traits_of(id);
                if !traits.name.is_null()
                    && CStr::from_ptr(traits.name).to_str().unwrap().eq_ignore_ascii_case(format.name)
                {
                    let layout = (traits.block_len as usize, traits.block_bytes);
                    assert_eq!(layout, (format.block_len, format.block_bytes), "{}", format.name);
                    return Type { id, traits: &*(traits as *const TypeTraits), quantize_chunk };
                }
            }
        }
        panic!("{} is not in this version of ggml", format.name)
    }
}

impl Type {
    /// Lets ggml make its tables, once for all children of this process.
    pub fn warm_up(&self, format: &Format) {
        let mut bytes = vec![0; format.row_bytes(256).unwrap()];
        self.quantize(format, &[1.0; 256], 256, Some(&[1.0; 256]), &mut bytes);
    }

    /// `ggml_quantize_chunk`.
    pub fn quantize(
        &self,
        format: &Format,
        rows: &[f32],
        row_len: usize,
        importance: Option<&[f32]>,
        dst: &mut [u8],
    ) {
        let count = rows.len() / row_len;
        assert_eq!(count * row_len, rows.len());
        assert_eq!(dst.len(), count * format.row_bytes(row_len).unwrap());
        assert!(importance.is_none_or(|importance| importance.len() == row_len));
        assert!(importance.is_some() || format.importance != Importance::Required);
        let importance = importance.map_or(std::ptr::null(), <[f32]>::as_ptr);
        // SAFETY: the lengths are as the function wants them, as checked.
        unsafe {
            (self.quantize_chunk)(
                self.id,
                rows.as_ptr(),
                dst.as_mut_ptr().cast(),
                0,
                count as i64,
                row_len as i64,
                importance,
            );
        }
    }

    /// [`Self::quantize`], where a child process cannot be had.
    #[cfg(not(unix))]
    pub fn try_quantize(
        &self,
        format: &Format,
        row: &[f32],
        importance: Option<&[f32]>,
        dst: &mut [u8],
    ) -> bool {
        self.quantize(format, row, row.len(), importance, dst);
        true
    }

    /// [`Self::quantize`] in a child process: false where ggml aborts, as it does on sums that overflow.
    #[cfg(unix)]
    pub fn try_quantize(
        &self,
        format: &Format,
        row: &[f32],
        importance: Option<&[f32]>,
        dst: &mut [u8],
    ) -> bool {
        // SAFETY: this program has one thread, so that a child may do what its parent may; the mapping has `dst.len()`
        // bytes, both processes see them, and it is unmapped once, by the parent.
        unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let shared = libc::mmap(std::ptr::null_mut(), dst.len(), protection, flags, -1, 0);
            assert_ne!(shared, libc::MAP_FAILED);
            let shared = std::slice::from_raw_parts_mut(shared.cast::<u8>(), dst.len());
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                // What ggml prints as it aborts is of no interest.
                libc::close(2);
                self.quantize(format, row, row.len(), importance, shared);
                libc::_exit(0);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            dst.copy_from_slice(shared);
            libc::munmap(shared.as_mut_ptr().cast(), dst.len());
            status == 0
        }
    }

    /// The type's `to_float`.
    pub fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) {
        let values = blocks.len() / self.traits.block_bytes * self.traits.block_len as usize;
        assert_eq!(values, dst.len());
        // SAFETY: `blocks` holds that many values and `dst` has room for them.
        unsafe {
            self.traits.to_float.unwrap()(blocks.as_ptr().cast(), dst.as_mut_ptr(), values as i64);
        }
    }
}
