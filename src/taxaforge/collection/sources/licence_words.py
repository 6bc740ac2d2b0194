"""The vocabulary beside a licence: what limits it, and what is said of any. English, German, French, Spanish, and a little more."""

LIMITS = """
no not non none never nor neither without except* exclud* unless but only sole solely limit* restrict* prohibit*
forbid* permi* consent* request* ask asked contact* apply applies applied condition* terms require* must cannot
reserved propriet* private personal internal confidential research academic* editorial educat* purpose* use used user*
uses usage reuse* fee fees paid pay payment* royalt* expire* until embargo* revoke* withdrawn unknown unclear
copyright* copr rights metadata data text thumbnail* for gnu gfdl gpl odbl ogl apache agreement* demand* resolution
lowres former* previous* nearly almost pending expected planned similar noncom* nonprof* npo noai
nicht kein* ohne ausser ausgenommen nur ausschliess* verboten untersagt genehmig* erlaub* zustimm* vorbehalt* recht
rechte rechts* urheberrecht* einschrank* beschrank* anfrage* erforder* privat* bedingung* gesperrt geschutzt nutzung*
verwend* zweck* lehre bildung* forschung* metadaten fur fuer
pas sans sauf aucun* jamais excepte* interdit* reserv* autoris* uniquement seul* droit* demande* accord exclu*
restrei* prive* utilis* obligat* metadonnee* pour
sin salvo ningun* nunca solo solamente unicamente prohibid* derecho* permiso* autoriz* restring* condicion* propiedad
uso usos fines metadato* para
riservat* vietat* diritti senza direitos proibid* nao sem voorbehoud* verboden alleen geen niet gebruik
creativecommons
"""
"""Words that limit, deny, or speak of something else than the picture; * stands for any ending."""

HARMLESS = """
a an the this that it its is are was and or to of in on at by from via with under as see view visit send letter copy
work works image images photo photos photograph photographs photographer picture pictures media file creator author
name credit courtesy licensed licenced licenses licences published released available provided shared cc version v
public domain dedication generic universal intl igo legal code legalcode deed href rel br p span title http https www
und der die das den dem des von vom zu zum zur unter bei lizenz lizenziert foto fotos bild bilder
et la le les l du d sous image auteur licencie y e el los las de do da dos das del di bajo por van ter ten bin al
licencia imagen autor
"""
"""Words in small letters that may stand beside a licence. Names begin with a capital."""
