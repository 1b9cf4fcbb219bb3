//! The race: one thread writes, and readers on all other CPUs ask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use headless_agent::maps::RecordSink as _;
use headless_ebpf::abi::{PassReason, Path};
use headless_tests::frame::{Query, SERVER};
use headless_tests::kernel::{Action, Kernel};
use headless_tests::{decode, maps};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_timerslack;
use nix::unistd::Pid;

use crate::names::{NAMES, Name, Place, Turn, Version};
use crate::replies::{Answers, version_of};
use crate::store::{record, write_all};

/// The shortest time for which readers ask.
const LEAST: Duration = Duration::from_secs(3);

/// The longest time for which readers ask, until enough names have changed under them.
const MOST: Duration = Duration::from_secs(90);

/// Time between two interrupts on a reader's CPU.
const QUIET: Duration = Duration::from_micros(10);

/// Held by the race that runs. Each race needs all CPUs.
static ALONE: Mutex<()> = Mutex::new(());

/// Tells all threads to stop when it is dropped, also by a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Stays on one CPU, on which the kernel gives freed elements out again.
fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Asks for the names until it is told to stop.
fn read(kernel: &Kernel, names: &[Name], kind: u16, stop: &AtomicBool) -> Answers {
    let _stop = Stop(stop);
    let mut answers = Answers::new();
    // The versions of replies that came before.
    let mut known: HashMap<Vec<u8>, Option<u32>> = HashMap::new();
    let frames: Vec<_> = names
        .iter()
        .map(|it| Query::new(&format!("s{}.default.svc.cluster.local", it.number), kind).frame())
        .collect();
    while !stop.load(Ordering::Relaxed) {
        for (name, frame) in names.iter().zip(&frames) {
            let (action, reply) = kernel.run(frame);
            if action == Action::Pass {
                assert_eq!(&reply, frame, "a passed packet leaves as it came");
                continue;
            }
            let version = *known
                .entry(reply)
                .or_insert_with_key(|reply| version_of(name, &decode::reply(frame, reply)));
            *answers.entry((name.number, version)).or_default() += 1;
        }
    }
    answers
}

/// The CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap());
    cpus.collect()
}

/// Lets one writer and the readers run, until `at_least` queries have passed because a name
/// had changed. Returns the readers' answers.
pub(crate) fn race(
    place: Place,
    turn: Turn,
    version: Version,
    kind: u16,
    at_least: u64,
) -> Answers {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernel = Kernel::with_capacities(&place.capacities());
    let cpus = cpus();
    let (own, readers) = cpus.split_at(1);
    let (readers, at_least) = match readers {
        // On a single CPU no name changes while a program runs.
        [] => (own, 0),
        readers => (readers, at_least),
    };
    let names: Vec<_> = (0..NAMES as u32)
        .map(|number| Name::new(number, version))
        .collect();
    let (first, changes) = record(place, &names, turn);
    maps::copy(&first, &mut kernel.maps);
    kernel.maps.put_state(maps::state()).unwrap();
    maps::serve(&mut kernel.maps, [SERVER.into()]);
    let mut sink = kernel.another_sink();
    let names = &*names;
    let (stop, kernel) = (AtomicBool::new(false), &kernel);
    let passed = || kernel.passed(Path::Xdp, PassReason::Changed);
    let answers: Answers = scope(|scope| {
        let stop = &stop;
        let _stop = Stop(stop);
        scope.spawn(move || {
            stay_on(own[0]);
            write_all(&mut sink, &changes, turn, stop);
        });
        let readers: Vec<_> = readers
            .iter()
            .map(|&cpu| {
                scope.spawn(move || {
                    stay_on(cpu);
                    set_timerslack(1).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        sleep(QUIET);
                    }
                });
                scope.spawn(move || {
                    stay_on(cpu);
                    read(kernel, names, kind, stop)
                })
            })
            .collect();
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let (found, elapsed) = (passed(), start.elapsed());
            if found >= at_least && elapsed >= LEAST {
                break;
            }
            assert!(elapsed < MOST, "{found} changes under readers");
            sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        let mut all = Answers::new();
        for reader in readers {
            for (answer, times) in reader.join().unwrap() {
                *all.entry(answer).or_default() += times;
            }
        }
        all
    });
    eprintln!("{} changed, {answers:?}", passed());
    answers
}
