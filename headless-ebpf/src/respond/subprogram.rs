//! Calls of the subprograms: arguments and results as numbers.

use super::{
    below::{EndpointSearch, namespace_yields, verified_pod},
    names::Names,
    options::OptRecord,
    passed::is_passed,
    ptr::PtrQuestion,
    request::Request,
    scratch::{Scratch, Task},
    shape::NameKind,
    srv::{Ports, SrvQuestion},
};
use crate::{abi::PassReason, maps::Lookup, verifier, wire::Capacity};

/// A part of the engine that only rare questions need.
///
/// In the BPF programs, a subprogram is a function with global linkage. The verifier checks such
/// a function once, not once for each path that leads to it (kernel commit `51c39bb1d5d1`).
/// Before kernel 5.12 it cannot take pointers, so that it finds [`Scratch`] itself. It returns
/// one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Looks up names below a Service or a namespace: endpoints and verified pods. Finds out
    /// whether a namespace has names that the maps do not hold.
    Below,
    /// Reads addresses in pods' names, matches ports, and writes SRV records.
    Srv,
    /// Answers questions for reverse names.
    Ptr,
    /// Reads EDNS options.
    Options,
    /// Finds out whether the question's name passes because of CoreDNS's configuration.
    Passed,
}

/// The working memory of one packet, and the calls of subprograms that share it.
pub trait Runtime {
    /// The working memory. No reference to it exists while a subprogram runs.
    fn scratch(&mut self) -> &mut Scratch;

    /// Runs a subprogram in the same working memory. Returns the result of [`Subprogram::run`].
    fn call<C: Capacity, L: Lookup>(&mut self, subprogram: Subprogram, lookup: &L) -> u64;
}

/// On the host, the call of a subprogram is an ordinary function call.
impl Runtime for Scratch {
    fn scratch(&mut self) -> &mut Scratch {
        self
    }

    fn call<C: Capacity, L: Lookup>(&mut self, subprogram: Subprogram, lookup: &L) -> u64 {
        subprogram.run::<C, L>(self, lookup)
    }
}

impl<T: Runtime> Runtime for &mut T {
    fn scratch(&mut self) -> &mut Scratch {
        (**self).scratch()
    }

    fn call<C: Capacity, L: Lookup>(&mut self, subprogram: Subprogram, lookup: &L) -> u64 {
        (**self).call::<C, L>(subprogram, lookup)
    }
}

/// A subprogram's result from this number on is this number plus a [`PassReason`].
const REASONS: u64 = 1 << 8;

impl Subprogram {
    /// Runs the subprogram. Only the engine can read the result.
    #[inline(always)]
    pub fn run<C: Capacity, L: Lookup>(self, scratch: &mut Scratch, lookup: &L) -> u64 {
        let result = match self {
            Self::Below => below(scratch, lookup).map(u64::from),
            Self::Srv => srv::<C, L>(scratch, lookup).map(|ports| ports as u64),
            Self::Ptr => ptr(scratch, lookup).map(|()| 0),
            Self::Options => options(scratch, lookup).map(|()| 0),
            Self::Passed => passed(scratch, lookup).map(u64::from),
        };
        result.unwrap_or_else(|reason| REASONS + reason as u64)
    }
}

/// Separates a result of [`Subprogram::run`] into success and failure.
#[inline(always)]
fn decode(result: u64) -> Result<u64, PassReason> {
    const fn code(reason: PassReason) -> u64 {
        REASONS + reason as u64
    }
    const CHANGED: u64 = code(PassReason::Changed);
    const TOO_LARGE: u64 = code(PassReason::TooLarge);
    const MAP: u64 = code(PassReason::Map);
    const OUTSIDE_ZONE: u64 = code(PassReason::OutsideZone);
    const NAME: u64 = code(PassReason::Name);
    const LENGTH: u64 = code(PassReason::Length);
    const EDNS: u64 = code(PassReason::Edns);
    const EDNS_COUNT: u64 = code(PassReason::EdnsCount);
    const EDNS_LENGTH: u64 = code(PassReason::EdnsLength);
    const EDNS_OPTION: u64 = code(PassReason::EdnsOption);
    const EDNS_SUBNET: u64 = code(PassReason::EdnsSubnet);
    match result {
        ..REASONS => Ok(result),
        CHANGED => Err(PassReason::Changed),
        TOO_LARGE => Err(PassReason::TooLarge),
        MAP => Err(PassReason::Map),
        OUTSIDE_ZONE => Err(PassReason::OutsideZone),
        NAME => Err(PassReason::Name),
        LENGTH => Err(PassReason::Length),
        EDNS => Err(PassReason::Edns),
        EDNS_COUNT => Err(PassReason::EdnsCount),
        EDNS_LENGTH => Err(PassReason::EdnsLength),
        EDNS_OPTION => Err(PassReason::EdnsOption),
        EDNS_SUBNET => Err(PassReason::EdnsSubnet),
        _ => Err(PassReason::Userspace),
    }
}

/// Calls [`Subprogram::Below`] for a name of this kind. Returns whether the name exists. Its
/// record is then in [`Scratch::record`]. For [`NameKind::Namespace`], returns whether the name's
/// namespace has names that the maps do not hold.
#[inline(always)]
pub(super) fn call_below<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    kind: NameKind,
    request: Request<'_, L>,
) -> Result<bool, PassReason> {
    put_task(runtime, kind as u32, request);
    let result = runtime.call::<C, L>(Subprogram::Below, request.lookup);
    Ok(decode(result)? != 0)
}

/// Calls [`Subprogram::Srv`] for a name of this kind.
#[inline(always)]
pub(super) fn call_srv<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    kind: NameKind,
    request: Request<'_, L>,
) -> Result<Ports, PassReason> {
    put_task(runtime, kind as u32, request);
    let result = runtime.call::<C, L>(Subprogram::Srv, request.lookup);
    Ports::from_number(decode(result)?).ok_or(PassReason::Userspace)
}

/// Calls [`Subprogram::Ptr`].
#[inline(always)]
pub(super) fn call_ptr<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    request: Request<'_, L>,
) -> Result<(), PassReason> {
    put_task(runtime, 0, request);
    decode(runtime.call::<C, L>(Subprogram::Ptr, request.lookup)).map(|_| ())
}

/// Calls [`Subprogram::Options`] for the message that ends at `end` and whose OPT record may have
/// options. The reply's options are then in [`Scratch::options`]. Returns the offset behind the
/// message without its options.
#[inline(always)]
pub(super) fn call_options<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    end: usize,
    request: Request<'_, L>,
) -> Result<usize, PassReason> {
    put_task(runtime, end as u32, request);
    decode(runtime.call::<C, L>(Subprogram::Options, request.lookup))?;
    Ok(runtime.scratch().len.read())
}

/// Calls [`Subprogram::Passed`]. Returns whether the question's name is in
/// [`crate::abi::Config::passed`].
#[inline(always)]
pub(super) fn call_passed<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    request: Request<'_, L>,
) -> Result<bool, PassReason> {
    put_task(runtime, 0, request);
    Ok(decode(runtime.call::<C, L>(Subprogram::Passed, request.lookup))? != 0)
}

/// Stores the arguments of a subprogram in the working memory.
#[inline(always)]
fn put_task<L>(runtime: &mut impl Runtime, argument: u32, request: Request<'_, L>) {
    runtime.scratch().task = Task {
        argument,
        start: request.start as u32,
        capacity: request.capacity as u32,
    };
}

/// The request that the arguments of a subprogram describe.
#[inline(always)]
fn request<L: Lookup>(task: Task, lookup: &L) -> Result<Request<'_, L>, PassReason> {
    match lookup.config() {
        Some(config) => Ok(Request {
            start: task.start as usize,
            capacity: task.capacity as usize,
            config,
            lookup,
        }),
        None => Err(PassReason::Map),
    }
}

/// Runs [`Subprogram::Below`] with its arguments from the working memory.
#[inline(always)]
fn below<L: Lookup>(scratch: &mut Scratch, lookup: &L) -> Result<bool, PassReason> {
    let task = scratch.task.get();
    let request = request(task, lookup)?;
    let question = verifier::reread(&mut scratch.question);
    let mut names = Names::new(&scratch.image, &mut scratch.key, request);
    if task.argument == NameKind::VerifiedPod as u32 {
        return verified_pod(&mut names, request, question, &mut scratch.record);
    }
    if task.argument == NameKind::Namespace as u32 {
        return namespace_yields(&mut names, request, question, &mut scratch.service);
    }
    let search = EndpointSearch {
        record: &mut scratch.record,
        service: &mut scratch.service,
        dashed: &mut scratch.dashed,
        details: &mut scratch.srv.details,
    };
    search.run(&mut names, request, question)
}

/// Runs [`Subprogram::Passed`] with its arguments from the working memory.
#[inline(always)]
fn passed<L: Lookup>(scratch: &mut Scratch, lookup: &L) -> Result<bool, PassReason> {
    let request = request(scratch.task.get(), lookup)?;
    let question = verifier::reread(&mut scratch.question);
    let mut names = Names::new(&scratch.image, &mut scratch.key, request);
    Ok(is_passed(&mut names, request, question))
}

/// Runs [`Subprogram::Srv`] with its arguments from the working memory.
#[inline(always)]
fn srv<C: Capacity, L: Lookup>(scratch: &mut Scratch, lookup: &L) -> Result<Ports, PassReason> {
    let task = scratch.task.get();
    let mut question = SrvQuestion {
        request: request(task, lookup)?,
        kind: task.argument,
        question: verifier::reread(&mut scratch.question),
        image: &mut scratch.image,
        record: &mut scratch.record,
        dashed: &mut scratch.dashed,
        memory: &mut scratch.srv,
        content: &mut scratch.content,
    };
    question.answer::<C>()
}

/// Runs [`Subprogram::Ptr`] with its arguments from the working memory.
#[inline(always)]
fn ptr<L: Lookup>(scratch: &mut Scratch, lookup: &L) -> Result<(), PassReason> {
    let task = scratch.task.get();
    let mut question = PtrQuestion {
        request: request(task, lookup)?,
        question: &mut scratch.question,
        image: &mut scratch.image,
        key: &mut scratch.key,
        record: &mut scratch.record,
        reverse: &mut scratch.reverse,
        memory: &mut scratch.srv,
        content: &mut scratch.content,
    };
    question.answer()
}

/// Runs [`Subprogram::Options`] with its arguments from the working memory.
#[inline(always)]
fn options<L: Lookup>(scratch: &mut Scratch, lookup: &L) -> Result<(), PassReason> {
    let task = scratch.task.get();
    let mut record = OptRecord {
        request: request(task, lookup)?,
        end: task.argument as usize,
        image: &mut scratch.image,
        len: &mut scratch.len,
        reader: &mut scratch.reader,
        options: &mut scratch.options,
    };
    record.read()
}
