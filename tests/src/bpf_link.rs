//! The kernel's `bpf_link`s, found and detached as `bpftool link` does it.

use std::io;

use nix::libc;

/// Commands of `bpf(2)` (include/uapi/linux/bpf.h).
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_GET_NEXT_ID: libc::c_long = 31;
const LINK_DETACH: libc::c_long = 34;

/// The beginning of `struct bpf_link_info`, up to the index of the interface in links of
/// XDP and tcx.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 27],
}

/// A link.
#[derive(Debug)]
pub struct BpfLink {
    /// The kernel's id of it.
    pub id: u32,
    fd: i32,
}

impl BpfLink {
    /// The link by which the program of this id is on the interface of this index, in
    /// whichever namespace.
    pub fn find(program: u32, ifindex: u32) -> Option<Self> {
        let mut id = 0;
        while let Ok((_, next)) = bpf(LINK_GET_NEXT_ID, [id, 0, 0, 0]) {
            id = next[1];
            // It may have gone meanwhile.
            let Ok((fd, _)) = bpf(LINK_GET_FD_BY_ID, [id, 0, 0, 0]) else {
                continue;
            };
            let link = Self { id, fd };
            let info = link.info();
            if info.program == program && info.ifindex == ifindex {
                return Some(link);
            }
        }
        None
    }

    fn info(&self) -> Info {
        let mut info = Info::default();
        let pointer = std::ptr::from_mut(&mut info) as u64;
        let words = [
            self.fd.cast_unsigned(),
            size_of::<Info>() as u32,
            pointer as u32,
            (pointer >> 32) as u32,
        ];
        bpf(OBJ_GET_INFO_BY_FD, words).unwrap();
        info
    }

    /// Takes the program off the interface, as `bpftool link detach` does.
    pub fn detach(self) {
        bpf(LINK_DETACH, [self.fd.cast_unsigned(), 0, 0, 0]).unwrap();
    }
}

impl Drop for BpfLink {
    fn drop(&mut self) {
        nix::unistd::close(self.fd).ok();
    }
}

/// Calls `bpf(2)` with these first words of its argument; returns its result and the words
/// after it.
fn bpf(command: libc::c_long, words: [u32; 4]) -> io::Result<(i32, [u32; 4])> {
    let mut words = words;
    let size = size_of_val(&words);
    // SAFETY: the kernel reads and writes no more than `size` bytes at the pointer, and what
    // a pointer among the words leads to is a live local of the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), size) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok((result, words)),
        _ => Err(io::Error::last_os_error()),
    }
}
