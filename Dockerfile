# One image for every doms process: doms api, doms worker, doms simulators.
FROM python:3.11.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/doms
WORKDIR /src
COPY requirements-run.lock ./
RUN /opt/doms/bin/pip install --require-hashes -r requirements-run.lock
COPY pyproject.toml README.md ./
COPY activities ./activities
COPY config ./config
COPY console ./console
COPY domain ./domain
COPY integrations ./integrations
COPY starter ./starter
COPY store ./store
COPY worker ./worker
COPY workflows ./workflows
RUN /opt/doms/bin/pip install --no-deps --no-build-isolation .
# Not from the sources here: what is compiled stands beside the installed package.
RUN cd / && /opt/doms/bin/python -m domain.routing

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --create-home doms && install -d -o doms -g doms /data
COPY --from=build /opt/doms /opt/doms
WORKDIR /app
COPY deploy ./deploy
ENV PATH=/opt/doms/bin:$PATH PYTHONUNBUFFERED=1 DOMS_HOME=/data
VOLUME /data
USER doms
EXPOSE 8080
ENTRYPOINT ["doms"]
CMD ["--help"]
