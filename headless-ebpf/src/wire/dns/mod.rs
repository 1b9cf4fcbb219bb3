//! DNS messages: header, question, resource records.

mod dashed;
mod header;
mod name;
mod opt;
mod question;
mod record;

pub use self::{
    dashed::{Dashed, dashed_ipv4, put_dashed},
    header::{
        CLASS_IN, Counts, DNS_HEADER_LEN, QUESTION_NAME, UDP_PAYLOAD_MIN, check_query, flags,
        pointer, put_counts, put_flags, qtype, rcode,
    },
    name::{LABEL_LEN_MAX, LABELS_MAX, LabelOffsets, NAME_LEN_MAX, fold},
    opt::{Edns, OPT_LEN},
    question::{QUESTION_FIXED_LEN, Question, why_not},
    record::{RECORD_HEADER_LEN, RecordHeader, SOA_LEN, VERSION_LEN, put_soa, put_version},
};
