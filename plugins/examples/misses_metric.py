"""A metric plugin: the share of samples that miss their ground truth, which a mean of decibels hides."""

from bnsbench.plugin import MetricSpec, hookimpl


@hookimpl
def bnsbench_metrics():
    """Yield the metric; its target is called with the parameters and returns a function of a sample set."""
    yield MetricSpec(
        "misses", ":misses", "Share of samples below so many dB.", parameters={"below": 20.0}, direction="lower"
    )


def misses(below):
    """Return the metric that counts the samples whose PSNR to the ground truth is below ``below`` dB."""
    from bnsbench.plugin import MetricValue, psnr_per_sample

    def measure(samples):
        samples.require_finite()
        missed = psnr_per_sample(samples.latents, samples.truth_latents, samples.data_range) < below
        return MetricValue(float(missed.double().mean()), per_sample=missed.double().tolist())

    return measure
