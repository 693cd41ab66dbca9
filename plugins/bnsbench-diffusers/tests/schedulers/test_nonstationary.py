"""NonStationaryScheduler against the engine on the same network, and its refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule

from bnsbench.paths import VP, CondOT, DiscreteVP
from bnsbench.plugin import NetworkState, NonStationarySolver, NotApplicableError, UsageError
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler

DDPM = DiscreteVP.linear()
PAIRINGS = [(DDPM, "epsilon"), (DDPM, "v_prediction"), (DDPM, "sample"), (CondOT(), "flow_prediction")]


class TestEqualsTheEngine:
    @pytest.mark.parametrize(("path", "prediction"), PAIRINGS)
    @pytest.mark.parametrize("nfe", [1, 5, 8])
    def test_in_float64_up_to_the_timesteps(
        self, path, prediction, nfe, network, noise, artefact_for, field_of, run_loop, deviation
    ):
        """Timesteps are float32, as those of other schedulers are."""
        artefact = artefact_for(path, nfe)
        scheduler = NonStationaryScheduler.from_artefact(artefact, prediction_type=prediction)
        field = field_of(network, path, prediction)
        expected = artefact.solver(field, noise * scheduler.init_noise_sigma)
        assert deviation(run_loop(scheduler, network, noise, nfe), expected) < 1e-7

    @pytest.mark.parametrize(("path", "prediction"), PAIRINGS)
    def test_in_float32(self, path, prediction, network, noise, artefact_for, field_of, run_loop, deviation):
        artefact = artefact_for(path, 8)
        network, noise = network.float(), noise.float()
        scheduler = NonStationaryScheduler.from_artefact(artefact, prediction_type=prediction)
        expected = artefact.solver(field_of(network, path, prediction), noise * scheduler.init_noise_sigma)
        found = run_loop(scheduler, network, noise, 8)
        assert found.dtype == torch.float32
        assert deviation(found, expected) < 1e-5

    def test_in_bfloat16_sums_are_kept_in_float32(self, network, noise, artefact_for, field_of, run_loop, deviation):
        """Each state is rounded once, as in the engine, whatever the number of terms."""
        artefact = artefact_for(CondOT(), 8)
        network, noise = network.bfloat16(), noise.bfloat16()
        scheduler = NonStationaryScheduler.from_artefact(artefact)
        expected = artefact.solver(field_of(network, CondOT(), "flow_prediction"), noise)
        found = run_loop(scheduler, network, noise, 8)
        assert found.dtype == torch.bfloat16
        assert deviation(found, expected) < 1e-2

    def test_times_that_repeat(self, network, noise, field_of, run_loop, deviation):
        times = torch.tensor([0.0, 0.5, 0.5, 1.0])
        table = NonStationarySolver(times, torch.ones(3), torch.tensor([[0.5, 0, 0], [0.2, 0.3, 0], [0.2, 0.3, 0.5]]))
        scheduler = NonStationaryScheduler(table.to_dict(), CondOT().to_dict(), prediction_type="flow_prediction")
        expected = table(field_of(network, CondOT(), "flow_prediction"), noise)
        assert deviation(run_loop(scheduler, network, noise, 3), expected) < 1e-7

    def test_again_with_other_states(self, network, noise, artefact_for, run_loop):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(CondOT()))
        first = run_loop(scheduler, network, noise, 5)
        run_loop(scheduler, network, noise[:2].float().double() + 1, 5)
        assert torch.equal(run_loop(scheduler, network, noise, 5), first)

    def test_noise_is_left_as_it_is(self, network, noise, artefact_for, run_loop):
        kept = noise.clone()
        run_loop(NonStationaryScheduler.from_artefact(artefact_for(CondOT())), network, noise, 5)
        assert torch.equal(noise, kept)


class TestNetworksThatCountFromDataToNoise:
    """As Mochi's, whose scheduler inverts its noise levels."""

    THEIRS = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)

    def test_equals_the_engine(self, network, noise, artefact_for, field_of, run_loop, deviation):
        artefact = artefact_for(CondOT(), 5)
        scheduler = NonStationaryScheduler.from_artefact(artefact, self.THEIRS)
        turned = lambda x, t: -network(x, 1000 - t)  # noqa: E731
        expected = artefact.solver(field_of(network, CondOT(), "flow_prediction"), noise)
        assert deviation(run_loop(scheduler, turned, noise, 5), expected) < 1e-7
        assert scheduler.timesteps.diff().min() > 0

    def test_euler_is_their_own(self, network, noise, run_loop, deviation):
        self.THEIRS.set_timesteps(sigmas=linear_quadratic_schedule(6, 0.025))
        times = self.THEIRS.sigmas.double()
        table = NonStationarySolver(times, torch.ones(6), times.diff().expand(6, 6).tril())
        scheduler = NonStationaryScheduler(
            table.to_dict(), CondOT().to_dict(), prediction_type="flow_prediction", invert_sigmas=True
        )
        torch.testing.assert_close(scheduler.timesteps, self.THEIRS.timesteps)
        torch.testing.assert_close(scheduler.sigmas, self.THEIRS.sigmas)
        x = noise.float()
        with torch.no_grad():
            for t in self.THEIRS.timesteps:
                x = self.THEIRS.step(network.float()(x, t), t, x).prev_sample
        assert deviation(run_loop(scheduler, network, noise.float(), 6), x) < 1e-5

    def test_added_noise(self, artefact_for):
        data, noise = torch.randn(2, 3, 3)
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(CondOT()), self.THEIRS)
        found = scheduler.add_noise(data, noise, torch.tensor([0.0, 250.0, 1000.0]))
        torch.testing.assert_close(found, torch.stack([noise[0], 0.75 * noise[1] + 0.25 * data[1], data[2]]))

    def test_are_not_taken_for_others(self, artefact_for):
        usual = NonStationaryScheduler.from_artefact(artefact_for(CondOT()))
        with pytest.raises(UsageError, match=r"as usual, but the pipeline's counts from data to noise \(invert_sigmas\)"):
            usual.check(self.THEIRS)
        with pytest.raises(UsageError, match="not of those that predict 'epsilon'"):
            NonStationaryScheduler(usual.table.to_dict(), DDPM.to_dict(), prediction_type="epsilon", invert_sigmas=True)


class TestWhatPipelinesLookAt:
    def test_diffusion(self, artefact_for):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(DDPM), prediction_type="epsilon")
        times = artefact_for(DDPM).solver.times
        torch.testing.assert_close(scheduler.timesteps.double(), 999 * (1 - times[:-1]), rtol=1e-7, atol=0)
        beginning = DDPMScheduler().alphas_cumprod[-1].double()
        assert float(scheduler.sigmas[0]) == pytest.approx(float(((1 - beginning) / beginning) ** 0.5), rel=1e-4)
        assert scheduler.init_noise_sigma == pytest.approx(float((1 - beginning) ** 0.5))
        assert (scheduler.order, scheduler.step_index, scheduler.begin_index, len(scheduler)) == (1, None, 0, 1000)

    def test_flow(self, artefact_for):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(CondOT()))
        torch.testing.assert_close(scheduler.timesteps, 1000 * scheduler.sigmas[:-1])
        assert (float(scheduler.sigmas[0]), float(scheduler.sigmas[-1]), scheduler.init_noise_sigma) == (1.0, 0.0, 1.0)

    def test_added_noise_is_that_of_diffusers(self, artefact_for):
        data, noise = torch.randn(2, 5, 3)
        timesteps = torch.tensor([0, 10, 500, 998, 999])
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(DDPM), prediction_type="epsilon")
        torch.testing.assert_close(
            scheduler.add_noise(data, noise, timesteps),
            DDPMScheduler().add_noise(data, noise, timesteps),
            rtol=1e-4,
            atol=1e-5,
        )

    def test_sums_run_in_one_product_on_the_device_of_the_states(self, noise, monkeypatch, artefact_for):
        """No step copies coefficients: after the first, the rows are those that it has placed."""
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(CondOT()))
        scheduler.set_timesteps(5)
        output = torch.zeros_like(noise)
        x = scheduler.step(output, scheduler.timesteps[0], noise).prev_sample
        products = []
        monkeypatch.setattr(torch, "mv", lambda *args, mv=torch.mv, **kwargs: products.append(1) or mv(*args, **kwargs))
        monkeypatch.setattr(torch.Tensor, "item", None)
        placed = scheduler._steps
        scheduler.step(output, scheduler.timesteps[1], x)
        assert scheduler._steps is placed
        assert products == [1]

    def test_a_run_after_another_takes_its_memory_unless_states_are_of_another_kind(self, noise, artefact_for):
        scheduler, kept = NonStationaryScheduler.from_artefact(artefact_for(CondOT())), []
        for states in (noise, noise + 1, noise.float(), noise.bfloat16(), noise[:2]):
            scheduler.set_timesteps(5)
            scheduler.step(states, scheduler.timesteps[0], states)
            kept.append(scheduler._steps)
        assert [kept[i] is kept[i + 1] for i in range(4)] == [True, False, True, False]


class TestFile:
    @pytest.mark.parametrize(("path", "prediction"), PAIRINGS)
    def test_round_trip(self, path, prediction, tmp_path, network, noise, artefact_for, run_loop):
        made = NonStationaryScheduler.from_artefact(artefact_for(path), prediction_type=prediction)
        made.save_pretrained(tmp_path)
        read = NonStationaryScheduler.from_pretrained(tmp_path)
        assert {key: read.config[key] for key in made.config} == dict(made.config)
        assert torch.equal(run_loop(read, network, noise, 5), run_loop(made, network, noise, 5))

    def test_holds_the_table_and_its_origin(self, tmp_path, artefact_for):
        artefact = artefact_for(CondOT())
        NonStationaryScheduler.from_artefact(artefact).save_pretrained(tmp_path)
        held = json.loads((tmp_path / "scheduler_config.json").read_text())
        assert held["_class_name"] == "NonStationaryScheduler"
        assert held["solver"] == artefact.solver.to_dict()
        assert (held["name"], held["model"], held["guidance"]) == ("bns", "tiny", 0.5)

    def test_of_an_artefact(self, tmp_path, artefact_for):
        artefact_for(CondOT()).save(tmp_path / "bns.json")
        scheduler = NonStationaryScheduler.from_artefact(tmp_path / "bns.json")
        assert scheduler.config.solver == artefact_for(CondOT()).solver.to_dict()


class TestWrongPairing:
    def test_another_number_of_steps(self, artefact_for):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(CondOT(), 5))
        with pytest.raises(UsageError, match="spends 5 evaluations: call the pipeline with num_inference_steps=5, not 6"):
            scheduler.set_timesteps(6)

    @pytest.mark.parametrize(
        ("path", "scheduler", "sentence"),
        [
            (DDPM, EulerDiscreteScheduler(beta_schedule="scaled_linear"), "another path than the pipeline's"),
            (DDPM, DDPMScheduler(num_train_timesteps=500), "another path than the pipeline's"),
            (DDPM, FlowMatchEulerDiscreteScheduler(), "No pipeline on the path 'discrete-vp'.*'flow_prediction'"),
            (CondOT(), DDPMScheduler(), "No pipeline on the path 'condot'.*'epsilon'"),
            (VP(), DDPMScheduler(), "no timesteps on the path 'vp'"),
        ],
    )
    def test_another_path(self, path, scheduler, sentence, artefact_for):
        with pytest.raises(UsageError, match=sentence):
            NonStationaryScheduler.from_artefact(artefact_for(path), scheduler)

    def test_a_table_of_split_columns(self, artefact_for):
        """A pipeline mixes both answers before its scheduler sees them."""
        made = artefact_for(CondOT())
        split = replace(made, solver=made.solver.split(made.guidance))
        with pytest.raises(NotApplicableError, match="a diffusers pipeline hands its scheduler only their mixture"):
            NonStationaryScheduler.from_artefact(split)
        with pytest.raises(NotApplicableError, match="only their mixture"):
            NonStationaryScheduler(split.solver.to_dict(), CondOT().to_dict(), prediction_type="flow_prediction")

    def test_another_prediction_type(self, artefact_for):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(DDPM), prediction_type="epsilon")
        scheduler.check(DDIMScheduler())
        with pytest.raises(UsageError, match="predict 'epsilon', but the pipeline's predicts 'v_prediction'"):
            scheduler.check(DDIMScheduler(prediction_type="v_prediction"))

    def test_a_prediction_type_that_nobody_has_said(self, artefact_for):
        with pytest.raises(UsageError, match=r"pass pipe\.scheduler, or prediction_type"):
            NonStationaryScheduler.from_artefact(artefact_for(DDPM))

    def test_a_prediction_type_that_there_is_not(self, artefact_for):
        with pytest.raises(UsageError, match="no prediction type 'noise' in diffusers"):
            NonStationaryScheduler.from_artefact(artefact_for(DDPM), prediction_type="noise")

    def test_the_configuration_of_another_scheduler(self):
        with pytest.raises(UsageError, match="make it by from_artefact"):
            NonStationaryScheduler.from_config({})

    def test_data_at_the_end_of_a_schedule(self):
        times = torch.tensor([0.0, 1.0, 1.0])
        table = NonStationarySolver(times, torch.ones(2), torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        still = NonStationaryScheduler(table.to_dict(), DDPM.to_dict(), prediction_type="sample")
        assert still.table.nfe == 2


class TestMisuse:
    @pytest.fixture
    def scheduler(self, artefact_for):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(CondOT(), 2))
        scheduler.set_timesteps(2)
        return scheduler

    def test_default_sigmas_of_flow_pipelines_and_their_shift_have_no_effect(self, scheduler):
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.5, 2), mu=1.15, device="cpu")
        assert len(scheduler.timesteps) == 2

    @pytest.mark.parametrize(
        "given",
        [
            {"sigmas": linear_quadratic_schedule(2, 0.025)},  # as Mochi passes them
            {"timesteps": [1000.0, 975.0]},  # as LTX's pipeline of conditions does
            {"sigmas": np.linspace(0.999, 0.0, 3)[:-1]},  # as Helios does
            {"sigmas": [1.0, 0.3, 0.0]},
        ],
    )
    def test_other_noise_levels_of_a_pipeline_are_without_effect_which_is_said_once(self, scheduler, given):
        own = scheduler.timesteps
        with pytest.warns(UserWarning, match="noise levels of its own, which are without effect"):
            scheduler.set_timesteps(**given)
        assert torch.equal(scheduler.timesteps, own)
        scheduler.set_timesteps(**given)

    @pytest.mark.parametrize(
        "given", [{"sigmas": [0.5, 1.0]}, {"timesteps": [800, 400]}, {"sigmas": []}, {"sigmas": [0.98, 0.5]}]
    )
    def test_a_beginning_that_is_no_pure_noise(self, scheduler, given):
        with pytest.raises(UsageError, match=r"begins with pure noise, at 1(000)?, and not at"):
            scheduler.set_timesteps(**given)

    def test_other_noise_levels_of_a_diffusion(self, artefact_for):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(DDPM, 2), prediction_type="epsilon")
        begin = float(scheduler.sigmas[0])
        with pytest.warns(UserWarning, match="without effect"):
            scheduler.set_timesteps(sigmas=[begin, 2.0, 0.0])
        with pytest.raises(UsageError, match=f"at {begin:g}, and not at 1"):
            scheduler.set_timesteps(sigmas=[1.0, 0.5])

    def test_noise_levels_of_another_number(self, scheduler):
        with pytest.raises(UsageError, match="num_inference_steps=2, not 3"):
            scheduler.set_timesteps(sigmas=[1.0, 0.7, 0.1])

    def test_default_sigmas_of_another_number(self, scheduler):
        with pytest.raises(UsageError, match="num_inference_steps=2, not 4"):
            scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])

    def test_beginning_in_the_middle(self, scheduler):
        scheduler.set_begin_index(0)
        with pytest.raises(UsageError, match="cannot begin at step 1"):
            scheduler.set_begin_index(1)

    def test_a_step_too_many(self, scheduler):
        x = torch.ones(1, 3)
        for _ in range(2):
            x = scheduler.step(torch.zeros(1, 3), 0, x, return_dict=False)[0]
        assert scheduler.step_index == 2
        with pytest.raises(UsageError, match="All 2 steps of this scheduler are taken"):
            scheduler.step(torch.zeros(1, 3), 0, x)

    def test_an_output_with_variances(self, scheduler):
        with pytest.raises(UsageError, match=r"but it is \[1, 6\] for a state of shape \[1, 3\]"):
            scheduler.step(torch.zeros(1, 6), 0, torch.ones(1, 3))

    @pytest.mark.parametrize("settings", [{"eta": 0.5}, {"use_clipped_model_output": True}])
    def test_noise_and_clipping(self, scheduler, settings):
        with pytest.raises(UsageError, match="deterministic and does not clip"):
            scheduler.step(torch.zeros(1, 3), 0, torch.ones(1, 3), **settings)

    def test_a_state_that_something_else_has_changed(self, scheduler):
        x = scheduler.step(torch.zeros(1, 3), 0, torch.ones(1, 3)).prev_sample
        with pytest.raises(UsageError, match="changed the state between two steps"):
            scheduler.step(torch.zeros(1, 3), 0, x + 0.1)

    def test_a_state_in_a_copy(self, scheduler):
        """A copy, and its rounding, make no difference: the sum goes on from what the scheduler keeps."""
        x, outputs = torch.rand(1, 3), torch.rand(2, 1, 3)
        first = scheduler.step(outputs[0], 0, x).prev_sample
        expected = scheduler.step(outputs[1], 0, first).prev_sample
        scheduler.set_timesteps(2)
        first = scheduler.step(outputs[0], 0, x).prev_sample
        rounded = torch.cat([first]).bfloat16()
        assert not torch.equal(rounded.float(), first)
        found = scheduler.step(outputs[1], 0, rounded).prev_sample
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, expected.bfloat16())


class TestScope:
    """What a scheduler tells where it is used elsewhere than where its table was trained."""

    HOME = NetworkState((6,), "float64", "", ())

    def made(self, artefact, **options):
        return NonStationaryScheduler.from_artefact(replace(artefact, network=self.HOME), **options)

    def pipeline(self, **changes):
        network = torch.nn.Linear(2, 2)
        network.dtype = torch.float64
        for name, value in changes.items():
            setattr(network, name, value)
        return SimpleNamespace(transformer=network)

    def test_samples_of_another_size_are_told_once(self, artefact_for):
        scheduler = self.made(artefact_for(CondOT(), 2))
        with pytest.warns(UserWarning, match=r"with samples of 6 numbers in float64, and is used with samples of 3x4"):
            scheduler.step(torch.ones(1, 3, 4), 0, torch.ones(1, 3, 4))
        scheduler.set_timesteps(2)
        scheduler.step(torch.ones(1, 3, 4), 0, torch.ones(1, 3, 4))
        packed = self.made(artefact_for(CondOT(), 2))
        packed.step(torch.ones(1, 3, 2), 0, torch.ones(1, 3, 2))  # as many numbers, in another order

    def test_a_strict_one_refuses(self, artefact_for):
        scheduler = self.made(artefact_for(CondOT(), 2), strict=True)
        with pytest.raises(UsageError, match="Train one there"):
            scheduler.step(torch.ones(1, 3, 4), 0, torch.ones(1, 3, 4))
        with pytest.raises(UsageError, match="is used in bfloat16"):
            self.made(artefact_for(CondOT(), 2), strict=True, pipeline=self.pipeline(dtype=torch.bfloat16))

    def test_the_network_of_a_pipeline_is_looked_at(self, artefact_for):
        scheduler = self.made(artefact_for(CondOT(), 2), pipeline=self.pipeline())  # which says nothing
        with pytest.warns(UserWarning, match="is used in bfloat16"):
            scheduler.check_scope(self.pipeline(dtype=torch.bfloat16))
        scheduler.check_scope(self.pipeline(dtype=torch.bfloat16))  # a warning now would be an error
        adapted = self.pipeline(active_adapters=["style"], merged_adapters=[], scaling={"style": 0.5})
        with pytest.warns(UserWarning, match=r"without adapters, and is used with the adapter style x 0\.5"):
            scheduler.check_scope(adapted)
        with pytest.warns(UserWarning, match=r"at w = 0\.5 .*and is used at w = 6\.5"):
            scheduler.check_scope(self.pipeline(), guidance_scale=7.5)
        scheduler.check_scope(self.pipeline(), guidance_scale=1.5)
        with pytest.raises(UsageError, match="has no unet and no transformer"):
            scheduler.check_scope(SimpleNamespace())

    def test_it_is_kept_in_the_configuration(self, artefact_for, tmp_path):
        self.made(artefact_for(CondOT(), 2)).save_pretrained(tmp_path)
        assert NonStationaryScheduler.from_pretrained(tmp_path).scope.network == self.HOME

    def test_an_older_one_says_nothing_of_what_it_does_not_know(self, artefact_for):
        scheduler = NonStationaryScheduler.from_artefact(artefact_for(CondOT(), 2), strict=True)
        scheduler.check_scope(self.pipeline(dtype=torch.bfloat16))
        scheduler.step(torch.ones(1, 3, 4), 0, torch.ones(1, 3, 4))
