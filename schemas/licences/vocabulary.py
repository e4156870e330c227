"""The closed vocabularies of terms. Ordered ones list the strictest value first."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """What the reader is going to do with the data; stated on every data request."""

    PRETRAINING = "pretraining"
    FINE_TUNING = "fine_tuning"
    EVALUATION = "evaluation"
    BENCHMARK = "benchmark"
    SIMULATION = "simulation"
    RESEARCH = "research"
    PRODUCT_INFERENCE = "product_inference"
    INTERNAL_ANALYTICS = "internal_analytics"


class Action(StrEnum):
    """The points at which terms are asked."""

    LIST = "list"
    METADATA = "metadata"
    QUERY = "query"
    SIGN = "sign"
    EXPORT = "export"


class Commercial(StrEnum):
    """Commercial use."""

    NO = "no"
    WITH_ROYALTY = "with_royalty"
    YES = "yes"


class Derivation(StrEnum):
    """What may be made from the data."""

    NONE = "none"
    SAME_TERMS = "same_terms"
    ALLOWED = "allowed"


class ModelWeights(StrEnum):
    """Duties and permissions about weights trained on the data.

    `licensee_owns` and `retain_allowed` permit; the other three bind.
    """

    NO_RELEASE = "no_release"
    MUST_DELETE_ON_TERMINATION = "must_delete_on_termination"
    LICENSOR_SHARE = "licensor_share"
    LICENSEE_OWNS = "licensee_owns"
    RETAIN_ALLOWED = "retain_allowed"


class Redistribution(StrEnum):
    """To whom the recipient may pass the data on."""

    NONE = "none"
    AFFILIATES = "affiliates"
    SUBLICENCE_LIST = "sublicence_list"


class Renewal(StrEnum):
    """Whether the parties agreed that terms renew; a renewal is a new version of the terms."""

    NONE = "none"
    AUTO = "auto"


class Price(StrEnum):
    """How use is charged."""

    FREE = "free"
    FLAT = "flat"
    PER_GB = "per_gb"
    PER_EPISODE = "per_episode"
    PER_TRAINING_RUN = "per_training_run"
    REVENUE_SHARE = "revenue_share"


class Cause(StrEnum):
    """Why terms may be revoked."""

    BREACH = "breach"
    CONSENT_WITHDRAWAL = "consent_withdrawal"
    LICENCE_TERMINATION = "licence_termination"
    QUALITY_RECALL = "quality_recall"


class Effect(StrEnum):
    """What a revocation stops."""

    DELETE = "delete"
    STOP_ALL = "stop_all"
    STOP_NEW = "stop_new"


class Propagation(StrEnum):
    """What a deletion reaches beyond the delivered files."""

    DERIVED = "derived"
    MODELS = "models"


class ConfidentialityClass(StrEnum):
    """Confidentiality, in the order of the traffic light protocol."""

    RED = "red"
    AMBER = "amber"
    GREEN = "green"
    CLEAR = "clear"


class Basis(StrEnum):
    """Legal basis on which personal data are held and provided.

    `statistical_exception_2026` counts only from the instant that an operator states.
    `own_operations` and `pseudonymously_processed` never allow provision to another party.
    """

    NONE = "none"
    CONSENT = "consent"
    OPT_OUT_NOTICE = "opt_out_notice"
    JOINT_USE = "joint_use"
    ENTRUSTMENT = "entrustment"
    OWN_OPERATIONS = "own_operations"
    ANONYMOUSLY_PROCESSED = "anonymously_processed"
    PSEUDONYMOUSLY_PROCESSED = "pseudonymously_processed"
    STATISTICAL_EXCEPTION_2026 = "statistical_exception_2026"
    NMI_ACT_ANONYMISED = "nmi_act_anonymised"
    NMI_ACT_PSEUDONYMISED = "nmi_act_pseudonymised"
