"""The requests and their addresses."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Response

from mtnets.serving import forms
from mtnets.serving.service import Service
from mtnets.serving.store import StoredTask

Id = Annotated[str, Path(description="Of the task, as the answer to its making says.", max_length=64)]
# What may go wrong with every request of work, in one sentence each
PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: {"model": forms.Problem, "description": "The body is too large."},
    422: {"model": forms.Problem, "description": "The request does not fit: the sentence says how."},
    503: {"model": forms.Problem, "description": "As many requests wait as may; Retry-After says when to try again."},
}
NO_TASK: dict[int | str, dict[str, Any]] = {
    404: {"model": forms.Problem, "description": "There is no such task."},
    422: PROBLEMS[422],
}


def router(service: Service, *, lists: bool) -> APIRouter:
    """The routes below `/v1`.

    Args:
      service: what answers.
      lists: whether clients may see which tasks there are; not where they do not know each other.
    """
    routes = APIRouter(prefix="/v1")

    def used(name: str) -> StoredTask:
        try:
            return service.store.use(name)
        except KeyError:
            raise HTTPException(404, f"There is no task {name!r}, or no more; learn it anew.") from None

    @routes.get("/learners")
    async def learners() -> forms.Learners:
        """The learners that are served; the first is the one that requests without a name mean."""
        return forms.Learners(learners=[service.describe_learner(name) for name in service.learners])

    @routes.get(
        "/learners/{name}", responses={**NO_TASK, 404: {"model": forms.Problem, "description": "It is not served."}}
    )
    async def learner(name: str) -> forms.LearnerAnswer:
        """What one learner is and takes."""
        if name not in service.learners:
            raise HTTPException(404, f"There is no learner {name!r:.80}; there are {', '.join(service.learners)}.")
        return service.describe_learner(name)

    @routes.post("/tasks", status_code=201, responses=PROBLEMS)
    async def learn(request: forms.NewTask) -> forms.TaskAnswer:
        """Learns a task from its examples."""
        return service.describe_task(await service.learn(request))

    if lists:

        @routes.get("/tasks")
        async def tasks() -> forms.Tasks:
            """The tasks that are kept."""
            return forms.Tasks(tasks=[service.describe_task(task) for task in service.store])

    @routes.get("/tasks/{id}", responses=NO_TASK)
    async def task(id: Id) -> forms.TaskAnswer:
        """What is kept of a task."""
        return service.describe_task(used(id))

    @routes.delete("/tasks/{id}", status_code=204, responses=NO_TASK)
    async def forget(id: Id) -> Response:
        """Forgets a task."""
        used(id)
        service.forget(id)
        return Response(status_code=204)

    @routes.post("/tasks/{id}/examples", responses={**PROBLEMS, **NO_TASK})
    async def learn_more(id: Id, request: forms.MoreExamples) -> forms.TaskAnswer:
        """Learns more examples: the task goes on from where it is, with all that it has, or learns them anew."""
        return service.describe_task(await service.learn_more(used(id), request))

    @routes.post("/tasks/{id}/predict", responses={**PROBLEMS, **NO_TASK})
    async def predict(id: Id, request: forms.Queries) -> forms.Predictions:
        """Predicts inputs."""
        return await service.predict(used(id), request)

    @routes.post("/tasks/{id}/steps", responses={**PROBLEMS, **NO_TASK})
    async def steps(id: Id, request: forms.Queries) -> forms.Steps:
        """Predicts inputs before the first inner step and after each, from where the learner starts."""
        return await service.steps(used(id), request)

    if service.tables:

        @routes.post("/tables", responses=PROBLEMS)
        async def tables(request: forms.Table) -> forms.TablePredictions:
            """Predicts the empty cells of one column of a table."""
            return await service.complete(request)

    @routes.get("/playground")
    async def playground() -> forms.Playground:
        """Which learners the tabs of the page have."""
        return service.playground()

    return routes
