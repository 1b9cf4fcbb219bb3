//! DNS messages: header, question, resource records.

mod dashed;
mod header;
mod name;
mod numbers;
mod opt;
mod options;
mod question;
mod record;

pub use self::{
    dashed::{Dashed, dashed_ipv4, put_dashed},
    header::{SectionCounts, check_query, put_counts, put_flags},
    name::{LabelOffsets, fold},
    numbers::{
        CLASS_IN, DNS_HEADER_LEN, LABEL_LEN_MAX, LABELS_MAX, NAME_LEN_MAX, OPT_DO,
        OPT_FLAGS_ECHOED, OPT_LEN, QUESTION_NAME, UDP_PAYLOAD_MIN, answer_kind, flags, pointer,
        qtype, rcode,
    },
    opt::Edns,
    options::{OPTIONS_LEN_MAX, OPTIONS_MAX, Options},
    question::{QUESTION_FIXED_LEN, Question, ends_in_zone, has_opt, name_end, pass_reason},
    record::{RECORD_HEADER_LEN, RecordHeader, SOA_LEN, Soa, VERSION_LEN, put_version},
};
