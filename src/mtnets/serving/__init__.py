"""A learner as a service: tasks are learned and predicted over HTTP, and by people on a page.

    mtnets serve omniglot-any-way-1shot

Reading order: limits, access, forms, raw, store, work, steps, metrics, batching, warming, tables, service, api, guard,
reference, app, server. All but the first two need the extra `serve`.
"""
