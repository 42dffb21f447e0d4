"""A context that no part of a model reads is refused, whatever it is given to."""

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
from tests.models.test_directed import two_latents
from tests.models.test_hierarchy import bernoulli, normal, two_levels

X, C = tf.constant(binary_data(4)), np.ones([4, 3], "float32")
MODELS = {
    "VAE": mlp_vae,
    "HierarchicalVAE": two_levels,
    "DirectedModel": two_latents,
    "DirectedModel of one latent": lambda: tfvae.DirectedModel(
        {"z_1": tfvae.priors.StandardNormal(), "x": bernoulli("z_1")}, {"z_1": normal("z_1", "x")}
    ),
    "FiniteMixture": lambda: tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(6), 3, seed=0),
    "DensityModel": lambda: tfvae.DensityModel(tfvae.priors.GaussianMixture(2, 6), seed=0),
}
SEED = tf.constant([0, 1])
# What each takes beside a context, from the model.
METHODS = {
    "call": lambda model: model({"x": X, "context": C}),
    "encode": lambda model: model.encode(X, C),
    "decode": lambda model: model.decode(tf.zeros([4, *model.latent_shape]), C),
    "prior_distribution": lambda model: model.prior_distribution(C),
    "prior_of": lambda model: model.prior_of({"x": X, "context": C}),
    "terms": lambda model: model.terms(X, context=C),
    "terms of a posterior": lambda model: model.terms(X, context=C, posterior=model.encode(X)),
    "terms of both": lambda model: model.terms(
        X, context=C, posterior=model.encode(X), prior=model.prior_of({"x": X})
    ),
    "exact_log_p_x": lambda model: model.exact_log_p_x(X, C),
    "sample": lambda model: model.sample(4, seed=0, context=C),
    "sample of one row": lambda model: model.sample(4, seed=0, context=C[:1]),
    "generate": lambda model: model.generate(4, SEED, tf.constant(C)),
    "reconstruct": lambda model: model.reconstruct(X, context=C),
    "predict": lambda model: model.predict({"x": X, "context": C}, verbose=0),
    "fit": lambda model: model.fit({"x": X, "context": C}, verbose=0),
    "log_likelihood": lambda model: tfvae.log_likelihood(model, {"x": X, "context": C}, 2),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    made = MODELS[request.param]()
    objective = tfvae.objectives.ELBO()
    made.compile("sgd", objective, jit_compile=False)
    return made


@pytest.mark.parametrize("name", METHODS)
def test_is_refused(model, name):
    with pytest.raises(ValueError, match=r"takes no context|Data of this model is"):
        METHODS[name](model)
